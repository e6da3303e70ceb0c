"""Batches over tables in stores of data: every row with its answer, in order, whatever was killed when."""

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pytest
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from polyforge.adapters.data_stores.folder import FolderData
from polyforge.adapters.data_stores.folder import Settings as FolderSettings
from polyforge.batch.batches import kind as kinds
from polyforge.batch.batches.records import Batch
from polyforge.batch.batches.settings import StoreSettings
from polyforge.batch.tables import source
from polyforge.batch.tables.schemas import NewBatch, view_of
from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, NotFound
from tests.support.batches import CHAT, EMBEDDINGS, ME, STRANGER, Killed, Room

ARROW: Any = pyarrow
PARQUET: Any = parquet
BODY = {"model": "m", "n": "{{n}}", "messages": [{"role": "user", "content": "About {{name}}"}]}
EMBED = {"model": "m", "input": "{{n}}"}
ADDED = ["answer", "error", "input_tokens", "output_tokens", "price_usd"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def room(
    database: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Room]:
    monkeypatch.setattr(source, "PART_ROWS", 5)
    (tmp_path / "lake").mkdir()
    declared = {
        "lake": StoreSettings.model_validate({"use": "folder", "projects": [ME.project_id]}),
        "other": StoreSettings.model_validate({"use": "folder", "projects": [STRANGER.project_id]}),
    }
    found = Room(database, clock, tmp_path, stores=declared, max_lines=100)
    found.stores["lake"] = FolderData(FolderSettings(path=tmp_path / "lake"), tmp_path)
    yield found
    scratch = tmp_path / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []


def lake(room: Room) -> Path:
    return room.folder / "lake"


async def create(room: Room, path: str, endpoint: str = CHAT, **more: Any) -> Batch:
    body = more.pop("body", EMBED if endpoint == EMBEDDINGS else BODY)
    asked = NewBatch.model_validate({"store": "lake", "input": path, "endpoint": endpoint, "body": body, **more})
    return await room.service.create_for_table(ME, endpoint, asked.exchange(), asked.metadata)


async def ran(room: Room, path: str, endpoint: str = CHAT, **more: Any) -> Batch:
    batch = await create(room, path, endpoint, **more)
    await room.run(batch)
    return await room.service.get(ME, batch.id)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def write_csv(path: Path, count: int) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = [f'{n},"Ann, {n}\nB."' for n in range(count)]
    path.write_text("n,name\n" + "\n".join(lines))


async def test_each_row_of_a_csv_gets_its_answer(room: Room) -> None:
    write_csv(lake(room) / "in" / "may 1.csv", 12)
    room.models.refuse = lambda text: Invalid("odd, very") if text == "7" else None
    ended = await ran(room, "in/may 1.csv")
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("completed", 11, 1)
    rows = rows_of(lake(room) / "in" / "may 1.answers.csv")
    assert list(rows[0]) == ["n", "name", *ADDED]
    assert [row["n"] for row in rows] == [str(n) for n in range(12)]
    assert rows[3]["name"] == "Ann, 3\nB."
    assert json.loads(rows[3]["answer"])["said"] == "3"
    assert [row["error"] for row in rows] == ["invalid_request: odd, very" if n == 7 else "" for n in range(12)]
    assert (rows[3]["input_tokens"], rows[3]["output_tokens"], rows[3]["price_usd"]) == ("1", "2", "0.00001")
    (failed,) = rows_of(lake(room) / "in" / "may 1.answers.errors.csv")
    assert (failed["n"], failed["answer"]) == ("7", "")
    view = view_of(ended)
    assert view.table is not None
    assert (view.table.output, view.table.errors) == ("in/may 1.answers.csv", "in/may 1.answers.errors.csv")
    assert (view.input_file_id, view.price_usd) == (None, 11 * 10 / 1e6)
    assert [each.key async for each in room.objects.list(f"{ME.project_id}/batches/")] == []


async def test_lines_of_json_keep_what_they_had(room: Room) -> None:
    first, second = (
        '{"n": 1.50, "name": "é", "deep": {"a": [1, 2]}',
        '{ "n":"2","name":"x" , "big": 12345678901234567890',
    )
    lines = [first + "}", "", second + " }"]
    (lake(room) / "in.jsonl").write_text("\n".join(lines))
    ended = await ran(room, "in.jsonl", output="out/all.jsonl", prefix="ai_")
    assert (ended.status, ended.counts.total) == ("completed", 2)
    written = (lake(room) / "out" / "all.jsonl").read_text().splitlines()
    assert written[0].startswith(first + ',"ai_answer":')
    assert written[1].startswith(second + ',"ai_answer":')
    assert list(json.loads(written[1])) == ["n", "name", "big", *(f"ai_{name}" for name in ADDED)]
    assert not (lake(room) / "out" / "all.errors.jsonl").exists()


def write_parquet(path: Path, count: int) -> None:
    table = ARROW.table(
        {
            "n": ARROW.array([str(n) for n in range(count)]),
            "name": ARROW.array([None if n == 2 else f"name {n}" for n in range(count)]),
            "day": ARROW.array([date(2026, 5, 1 + n) for n in range(count)]),
            "price": ARROW.array([Decimal("1.50")] * count, ARROW.decimal128(9, 2)),
        }
    )
    PARQUET.write_table(table, path, row_group_size=4)


async def test_parquet_stays_what_it_was_and_gets_columns(room: Room) -> None:
    write_parquet(lake(room) / "in.parquet", 12)
    room.models.refuse = lambda text: Invalid("odd") if text == "7" else None
    body = {**BODY, "messages": [{"role": "user", "content": "{{name}} on {{day}} for {{price}}"}]}
    ended = await ran(room, "in.parquet", body=body)
    assert (ended.status, ended.counts.completed, ended.counts.failed) == ("completed", 11, 1)
    before, after = PARQUET.read_table(lake(room) / "in.parquet"), PARQUET.read_table(lake(room) / "in.answers.parquet")
    assert after.select(before.column_names).equals(before)
    assert after.column_names == [*before.column_names, *ADDED]
    assert [str(each) for each in after.schema.types[4:]] == ["string", "string", "int64", "int64", "double"]
    assert after.column("error").to_pylist() == ["invalid_request: odd" if n == 7 else None for n in range(12)]
    failed = PARQUET.read_table(lake(room) / "in.answers.errors.parquet")
    assert failed.column("n").to_pylist() == ["7"]
    assert failed.column("day").to_pylist() == [date(2026, 5, 8)]


async def test_vectors_are_lists_of_numbers_in_parquet(room: Room) -> None:
    write_parquet(lake(room) / "in.parquet", 12)
    ended = await ran(room, "in.parquet", EMBEDDINGS)
    assert (ended.status, ended.counts.completed) == ("completed", 12)
    answers = PARQUET.read_table(lake(room) / "in.answers.parquet").column("answer")
    assert str(answers.type).startswith("list<")
    assert answers.to_pylist() == [[float(n)] for n in range(12)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
async def test_it_goes_on_wherever_it_was_killed(room: Room, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(kinds, "PARTS_AT_ONCE", 2)
    path = lake(room) / f"in.{kind}"
    if kind == "parquet":
        write_parquet(path, 12)
    elif kind == "csv":
        write_csv(path, 12)
    else:
        path.write_text("".join(json.dumps({"n": str(n), "name": "x"}) + "\n" for n in range(12)))
    batch = await create(room, path.name, EMBEDDINGS)
    kept: dict[str, str] = {}
    killed: list[str] = []
    dice = Random(kind)

    def kill(when: str, name: str) -> bool:
        if len(killed) >= 12 or dice.random() > 0.4:
            return False
        killed.append(f"{when} {name}")
        return True

    result = None
    while result is None:
        with suppress(Killed):
            result = await room.run(batch, kept, kill)
        # What happens to the table once it was read changes nothing.
        if "validate" in kept:
            path.write_text("gone")
    assert len(killed) > 3
    out = lake(room) / f"in.answers.{kind}"
    assert (result["status"], result["completed"], result["output"]) == ("completed", 12, out.name)
    if kind == "parquet":
        found = [(row["n"], row["answer"]) for row in PARQUET.read_table(out).to_pylist()]
    elif kind == "csv":
        found = [(row["n"], json.loads(row["answer"])) for row in rows_of(out)]
    else:
        found = [(row["n"], row["answer"]) for row in map(json.loads, out.read_text().splitlines())]
    assert found == [(str(n), [float(n)]) for n in range(12)]
    assert [each.key async for each in room.objects.list(f"{ME.project_id}/batches/")] == []


@pytest.mark.parametrize(
    ("name", "content", "more", "said"),
    [
        ("in.csv", b"n,name\n1,a\n2\n", {}, "line 3: it has 1 cells, and the header 2"),
        ("in.csv", b"n,title\n1,a\n", {}, "no column 'name'"),
        ("in.csv", b"n,name,answer\n1,a,b\n", {}, "'answer' already"),
        ("in.csv", b"n,n,name\n1,2,a\n", {}, "same name"),
        ("in.csv", b"n,name\n", {}, "no rows"),
        ("in.csv", b"n,name\n" + b"1,a\n" * 101, {}, "more than 100 rows"),
        ("in.jsonl", b'{"n":1,"name":"a"}\n[1]\n', {}, "line 2"),
        ("in.jsonl", b'{"n":1,"name":"a"}\n{"n":1}\n', {}, "line 2: there is no column 'name'"),
        ("in.jsonl", b'{"n":1,"name":"a","error":""}\n', {}, "'error' already"),
        ("in.jsonl", b'{"x":[1]}\n', {"endpoint": EMBEDDINGS, "body": {"input": "{{x}}"}}, "must be one text"),
        ("in.parquet", b"PAR1 and nothing", {}, "no Parquet"),
        ("absent.csv", None, {}, "absent.csv"),
    ],
)
async def test_what_is_wrong_is_told_before_any_call(
    room: Room, name: str, content: bytes | None, more: dict[str, Any], said: str
) -> None:
    if content is not None:
        (lake(room) / name).write_bytes(content)
    ended = await ran(room, name, **{"endpoint": CHAT, **more})
    assert ended.status == "failed"
    assert said in ended.problems[0].message
    assert not room.models.asked
    assert [each.name for each in lake(room).iterdir() if each.name != name and not each.name.startswith(".")] == []
    assert [each.key async for each in room.objects.list(f"{ME.project_id}/batches/")] == []


async def test_nothing_is_written_over_unasked(room: Room) -> None:
    write_csv(lake(room) / "in.csv", 2)
    (lake(room) / "in.answers.csv").write_text("precious")
    ended = await ran(room, "in.csv")
    assert (ended.status, (lake(room) / "in.answers.csv").read_text()) == ("failed", "precious")
    assert "replace" in ended.problems[0].message
    assert (await ran(room, "in.csv", replace=True)).status == "completed"
    assert len(rows_of(lake(room) / "in.answers.csv")) == 2


async def test_a_cancelled_one_says_of_each_row_what_became_of_it(room: Room) -> None:
    write_csv(lake(room) / "in.csv", 12)
    batch = await create(room, "in.csv")
    await room.service.cancel(ME, batch.id)
    await room.run(batch)
    ended = await room.service.get(ME, batch.id)
    assert (ended.status, ended.counts.failed) == ("cancelled", 12)
    assert {row["error"].partition(":")[0] for row in rows_of(lake(room) / "in.answers.csv")} == {"batch_cancelled"}


async def test_only_projects_that_may_see_a_store_use_it(room: Room) -> None:
    asked = NewBatch.model_validate({"store": "other", "input": "a.csv", "endpoint": CHAT, "body": BODY})
    for name in ("other", "absent"):
        exchange = NewBatch.model_validate({**asked.model_dump(), "store": name}).exchange()
        with pytest.raises(NotFound):
            await room.service.create_for_table(ME, CHAT, exchange, {})
    assert (room.service.stores(ME), room.service.stores(STRANGER)) == (["lake"], ["other"])
    write_csv(lake(room) / "in.csv", 2)
    batch = await create(room, "in.csv")
    assert await room.service.page(STRANGER, 10, None, of_files=False) == ([], False)
    assert [each.id for each in (await room.service.page(ME, 10, None, of_files=False))[0]] == [batch.id]
    assert (await room.service.page(ME, 10, None))[0] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": "../in.csv"},
        {"input": "/in.csv"},
        {"input": "a/.hidden.csv"},
        {"input": "in.xlsx"},
        {"output": "in.csv"},
        {"body": {"model": "m"}},
        {"endpoint": "/v1/images/generations"},
        {"format": "xml"},
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    asked = {"store": "lake", "input": "in.csv", "endpoint": CHAT, "body": BODY, **wrong}
    with pytest.raises((Invalid, ValueError)):
        NewBatch.model_validate(asked).exchange()
