"""The order of last use through a restart."""

import asyncio
from pathlib import Path

import pytest

from polyforge.serving.lifecycle import recent
from polyforge.serving.lifecycle.recent import RecentlyUsed, order_of
from polyforge.serving.repository import HostedModel
from tests.support.waiting import DEADLINE
from tests.unit.serving.backends import Adder


def models(*names: str) -> list[HostedModel]:
    return [HostedModel(name, Adder()) for name in names]


async def test_what_was_used_last_comes_first_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "SAVE_SECONDS", 0.001)
    path = tmp_path / "models" / "recent.json"
    before = models("a", "b", "c")
    for used, model in enumerate((before[2], before[0], before[1])):
        model.used = 5.0 + used
    keeping = asyncio.create_task(RecentlyUsed(path).keep(lambda: before))
    async with asyncio.timeout(DEADLINE):
        while not path.exists():  # noqa: ASYNC110  # a thread writes it
            await asyncio.sleep(0.001)
    keeping.cancel()

    after = RecentlyUsed(path)
    after.read()
    again = models("new", "a", "b", "c")
    assert [model.name for model in after.sorted(again)] == ["b", "a", "c", "new"]
    after.mark(again)
    assert [name for name, _ in order_of(again)] == ["b", "a", "c", "new"]
    assert all(model.used < 0 for model in again)


@pytest.mark.parametrize("content", [None, b"{", b'{"models": 1}', b"\xff"])
def test_without_a_good_file_there_is_no_order(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "recent.json"
    if content is not None:
        path.write_bytes(content)
    order = RecentlyUsed(path)
    order.read()
    assert [model.name for model in order.sorted(models("b", "a"))] == ["b", "a"]


def test_a_folder_that_cannot_be_written_costs_no_more_than_the_order(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    RecentlyUsed(tmp_path / "models" / "recent.json").save((("a", "1"),))
    assert (tmp_path / "models").read_text() == "in the way"
