"""Files of a project: whole or absent, hidden from others, read in ranges, gone when their time has come."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from polyforge.adapters.objects.memory import MemoryObjects, Settings
from polyforge.batch.files.records import File, Wish, object_key
from polyforge.batch.files.removing import PAGE, FilePruning, FilesOfPeople
from polyforge.batch.files.service import FileService, scope_of
from polyforge.batch.files.settings import FileSettings
from polyforge.batch.files.tables import files
from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import (
    Cancelled,
    Conflict,
    Denied,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unavailable,
)
from polyforge.ports.objects import Stored
from polyforge.server.files import Files
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.erasing.records import Person
from polyforge.tenancy.erasing.service import ErasingService
from tests.support.files import rooms
from tests.support.recording import MASTER, recorder

DAY = 86_400
BOUNDARY = "b-7"


def ulid(digit: int) -> str:
    return f"{digit:026d}"


ME = Caller(ulid(5), "k", ulid(1), ulid(11), frozenset({"files:read", "files:write"}), user_id=ulid(7))
SISTER = replace(ME, project_id=ulid(12))
STRANGER = replace(ME, organization_id=ulid(2), project_id=ulid(21))


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def told(purpose: str = "user_data", seconds: float | None = None) -> Callable[[], Awaitable[Wish]]:
    async def tell() -> Wish:
        return Wish(purpose, seconds)

    return tell


class Objects(MemoryObjects):
    """Objects that can be away."""

    away = False

    async def put(self, key: str, content: Any) -> Stored:
        stored = await super().put(key, content)
        if self.away:
            raise Unavailable("away")
        return stored

    async def delete(self, key: str) -> None:
        if self.away:
            raise Unavailable("away")
        await super().delete(key)


class Room:
    """Files over a database and objects."""

    def __init__(self, database: Database, clock: FakeClock, **settings: Any) -> None:
        self.database = database
        self.clock = clock
        self.objects = Objects(Settings(), Path())
        self.service = FileService(FileSettings(**settings), database, self.objects, clock, recorder(clock))
        self.pruning = FilePruning(database, self.objects, clock)

    async def save(self, content: bytes = b"0123456789", caller: Caller = ME, name: str = "a.txt", **wish: Any) -> File:
        return await self.service.upload(caller, name, pieces(content), told(**wish))

    async def keys(self) -> list[str]:
        return [each.key for project in (11, 12, 21) async for each in self.objects.list(f"{ulid(project)}/")]

    async def count(self) -> int:
        async with self.database.read() as session:
            return await session.scalar(select(func.count()).select_from(files))

    async def seen(self, caller: Caller = ME) -> list[str]:
        return [each.id for each in (await self.service.page(caller, 100))[0]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def room(database: Database, clock: FakeClock) -> Room:
    return Room(database, clock)


async def content(room: Room, file: File, *bounds: int, caller: Caller = ME) -> bytes:
    return b"".join([piece async for piece in room.service.content(caller, file, *bounds)])


async def test_a_file_is_found_as_it_was(room: Room) -> None:
    saved = await room.save(b"some" * 100_000, name="C:\\docs\\a.jsonl", purpose="batch")
    found = await room.service.get(ME, saved.id)
    assert found == saved
    assert (found.name, found.size, found.purpose, found.user_id) == ("a.jsonl", 400_000, "batch", ulid(7))
    assert await content(room, found) == b"some" * 100_000
    assert await content(room, found, 4, 6) == b"someso"
    assert await room.keys() == [object_key(scope_of(ME), found.id)]


async def test_files_for_batches_expire_and_others_stay(room: Room) -> None:
    now = room.clock.now()
    assert (await room.save(purpose="batch")).expires_at == now + 30 * DAY
    assert (await room.save(purpose="batch_output")).expires_at == now + 30 * DAY
    assert (await room.save()).expires_at is None
    assert (await room.save(purpose="batch", seconds=7_200)).expires_at == now + 7_200


async def test_another_project_sees_and_deletes_nothing(room: Room) -> None:
    saved = await room.save()
    for foreign in (SISTER, STRANGER, replace(STRANGER, project_id=ME.project_id)):
        assert await room.seen(foreign) == []
        with pytest.raises(NotFound):
            await room.service.get(foreign, saved.id)
        with pytest.raises(NotFound):
            await room.service.delete(foreign, saved.id)
    for foreign in (SISTER, STRANGER):
        with pytest.raises(NotFound):
            await content(room, saved, caller=foreign)
    assert await room.seen() == [saved.id]


async def test_lists_go_by_age(room: Room) -> None:
    ids = [(await room.save(purpose="batch" if number % 2 else "vision")).id for number in range(5)]

    async def page(limit: int, **which: Any) -> tuple[list[int], bool]:
        found, more = await room.service.page(ME, limit, **which)
        return [ids.index(each.id) for each in found], more

    assert await page(2) == ([4, 3], True)
    assert await page(2, after=ids[3]) == ([2, 1], True)
    assert await page(2, after=ids[1]) == ([0], False)
    assert await page(3, descending=False) == ([0, 1, 2], True)
    assert await page(5, descending=False, after=ids[2]) == ([3, 4], False)
    assert await page(5, purpose="batch") == ([3, 1], False)


class Broke(Exception):
    pass


async def broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise Broke


async def test_what_breaks_off_leaves_nothing(room: Room) -> None:
    async def refused() -> Wish:
        raise Invalid("purpose must be said")

    with pytest.raises(Broke):
        await room.service.upload(ME, "a", broken(), told())
    with pytest.raises(Invalid):
        await room.service.upload(ME, "a", pieces(b"a"), refused)
    assert (await room.count(), await room.keys()) == (0, [])


async def test_who_hangs_up_leaves_nothing(room: Room) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await never.wait()

    uploading = asyncio.create_task(room.service.upload(ME, "a", endless(), told()))
    await begun.wait()
    assert await room.seen() == []
    assert await room.count() == 1
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert (await room.count(), await room.keys()) == (0, [])


async def test_what_a_dead_process_left_goes_after_a_day(room: Room) -> None:
    """A row without an end, and an object that nobody tells of."""
    room.objects.away = True
    with pytest.raises(Unavailable):
        await room.save()
    room.objects.away = False
    assert (await room.seen(), await room.count(), len(await room.keys())) == ([], 1, 1)
    assert await room.pruning.step() == 0
    room.clock.advance(DAY)
    assert await room.pruning.step() == 1
    assert (await room.count(), await room.keys()) == (0, [])


async def test_it_refuses_what_is_too_large(database: Database, clock: FakeClock) -> None:
    room = Room(database, clock, max_bytes=1_024, max_project_bytes=2_500)
    await room.save(bytes(1_024))
    with pytest.raises(TooLarge):
        await room.save(bytes(1_025))
    await room.save(bytes(1_024))
    with pytest.raises(Conflict, match="delete some"):
        await room.save(bytes(1_024))
    await room.save(bytes(1_024), caller=SISTER)
    assert (await room.count(), len(await room.keys())) == (3, 3)
    await room.service.delete(ME, (await room.seen())[0])
    await room.save(bytes(1_024))


async def test_too_many_uploads_at_once_are_told_to_wait(database: Database, clock: FakeClock) -> None:
    room = Room(database, clock, uploads_at_once=1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        begun.set()
        await go_on.wait()
        yield b"there"

    uploading = asyncio.create_task(room.service.upload(ME, "a", slow(), told()))
    await begun.wait()
    with pytest.raises(Unavailable) as refused:
        await room.save()
    assert refused.value.retry_after
    go_on.set()
    await uploading
    await room.save()


async def test_what_was_deleted_is_gone_even_if_its_bytes_cannot_be_reached(room: Room) -> None:
    first, second = await room.save(), await room.save()
    await room.service.delete(ME, first.id)
    assert await room.seen() == [second.id]
    assert (await room.count(), len(await room.keys())) == (1, 1)
    room.objects.away = True
    await room.service.delete(ME, second.id)
    assert await room.seen() == []
    assert len(await room.keys()) == 1
    with pytest.raises(Unavailable):
        await room.pruning.step()
    room.objects.away = False
    assert await room.pruning.step() == 1
    assert (await room.count(), await room.keys()) == (0, [])


async def test_what_has_expired_is_hidden_and_removed_with_its_bytes(room: Room) -> None:
    short = [await room.save(seconds=3_600) for _ in range(PAGE + 5)]
    theirs = await room.save(caller=STRANGER, seconds=3_600)
    kept = await room.save()
    room.clock.advance(3_600)
    assert await room.seen() == [kept.id]
    with pytest.raises(NotFound):
        await room.service.get(ME, short[0].id)
    with pytest.raises(NotFound):
        await room.service.get(STRANGER, theirs.id)
    assert [await room.pruning.step() for _ in range(3)] == [PAGE, 6, 0]
    assert await room.keys() == [object_key(scope_of(ME), kept.id)]


async def test_they_go_with_the_person(room: Room) -> None:
    somebody_else = replace(ME, user_id=ulid(8))
    for _ in range(PAGE + 5):
        await room.save()
    kept = [await room.save(caller=each) for each in (somebody_else, SISTER)]
    of_people = FilesOfPeople(room.database, room.objects)
    erasing = ErasingService(room.database, recorder(room.clock), MASTER, rooms(files=of_people))
    done = await erasing.erase(ME, Person("user", ulid(7)), None)
    assert (done.files, done.place) == (PAGE + 5, None)
    assert await room.count() == len(kept)
    assert len(await room.keys()) == len(kept)
    assert (await erasing.erase(ME, Person("end_user", ulid(8)), None)).files == 0


async def test_the_audit_log_tells_of_files_without_their_names(room: Room) -> None:
    saved = await room.save(name="anns-illness.txt")
    await room.service.delete(ME, saved.id)
    async with room.database.read() as session:
        rows = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    assert [(row["action"], row["resource_id"]) for row in rows] == [
        ("file.uploaded", saved.id),
        ("file.deleted", saved.id),
    ]
    assert all("anns-illness" not in str(dict(row)) for row in rows)


# --- over HTTP ---


class Answer:
    """What came of a call."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    room: Room,
    method: str,
    path: str,
    body: bytes = b"",
    query: str = "",
    caller: Caller = ME,
    cut_off: bool = False,
    **headers: str,
) -> Answer:
    """One request."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": method, "path": path, "query_string": query.encode(), "headers": raw, "state": {}}
    left = [body[start : start + 100] for start in range(0, len(body), 100)] or [b""]

    async def receive() -> dict[str, Any]:
        if cut_off and len(left) == 1:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    answer = Answer()
    await Files(room.service).answer(scope, receive, answer.send, caller)
    return answer


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for disposition, content in parts:
        body += f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


FILE = ('name="file"; filename="a b.jsonl"', b'{"n": 1}\r\n' * 100)
PURPOSE = ('name="purpose"', b"batch")


OTHER = ('name="other"', b"x" * 200_000)


@pytest.mark.parametrize("parts", [(PURPOSE, FILE), (FILE, PURPOSE), (OTHER, FILE, OTHER, PURPOSE)])
async def test_a_file_is_uploaded_whatever_the_order_of_the_form(room: Room, parts: tuple[Any, ...]) -> None:
    sent = await call(room, "POST", "/v1/files", form(*parts))
    assert sent.status == 200
    assert {**sent.json, "id": "", "created_at": 0, "expires_at": 0} == {
        "id": "",
        "object": "file",
        "bytes": 1_000,
        "created_at": 0,
        "expires_at": 0,
        "filename": "a b.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    id_ = sent.json["id"]
    assert (await call(room, "GET", f"/v1/files/{id_}")).json == sent.json
    listed = (await call(room, "GET", "/v1/files", query="limit=1")).json
    assert (listed["data"], listed["has_more"], listed["first_id"]) == ([sent.json], False, id_)
    whole = await call(room, "GET", f"/v1/files/{id_}/content")
    assert whole.body == FILE[1]
    assert whole.headers["content-length"] == "1000"
    assert whole.headers["content-disposition"] == 'attachment; filename="a b.jsonl"'
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["x-content-type-options"] == "nosniff"
    gone = await call(room, "DELETE", f"/v1/files/{id_}")
    assert gone.json == {"id": id_, "object": "file", "deleted": True}
    with pytest.raises(NotFound):
        await call(room, "GET", f"/v1/files/{id_}")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-3", (206, b"0123", "bytes 0-3/10")),
        ("bytes=7-", (206, b"789", "bytes 7-9/10")),
        ("bytes=-2", (206, b"89", "bytes 8-9/10")),
        ("bytes=4-100", (206, b"456789", "bytes 4-9/10")),
        ("bytes=0-9", (200, b"0123456789", None)),
        ("bytes=-100", (200, b"0123456789", None)),
        ("bytes=10-", (416, b"", "bytes */10")),
        ("bytes=-0", (416, b"", "bytes */10")),
        ("bytes=3-1", (200, b"0123456789", None)),
        ("bytes=0-1,3-4", (200, b"0123456789", None)),
        ("bytes=-", (200, b"0123456789", None)),
        ("lines=1-2", (200, b"0123456789", None)),
    ],
)
async def test_content_is_read_in_ranges(room: Room, asked: str, expected: tuple[int, bytes, str | None]) -> None:
    saved = await room.save()
    path = f"/v1/files/file-{saved.id}/content"
    found = await call(room, "GET", path, range=asked)
    assert (found.status, found.body, found.headers.get("content-range")) == expected
    assert int(found.headers["content-length"]) == len(expected[1])
    same = await call(room, "GET", path, range="bytes=0-3", if_range=found.headers.get("etag", f'"{saved.sha256}"'))
    assert same.status == 206
    assert (await call(room, "GET", path, range="bytes=0-3", if_range='"another"')).status == 200


async def test_an_empty_file_is_a_file(room: Room) -> None:
    sent = await call(room, "POST", "/v1/files", form(PURPOSE, ('name="file"; filename=""', b"")))
    assert (sent.json["bytes"], sent.json["filename"]) == (0, "file")
    assert (await call(room, "GET", f"/v1/files/{sent.json['id']}/content")).body == b""


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((PURPOSE,), "file"),
        ((FILE,), "purpose"),
        ((('name="purpose"', b"fun"), FILE), "purpose"),
        ((PURPOSE, PURPOSE, FILE), "purpose"),
        ((PURPOSE, FILE, FILE), "file"),
        ((PURPOSE, ('name="other"; filename="x"', b"x")), "file"),
        ((PURPOSE, FILE, ('name="expires_after[seconds]"', b"7200")), "expires_after.anchor"),
    ],
)
async def test_a_form_that_does_not_fit_is_refused_and_leaves_nothing(
    room: Room, parts: tuple[Any, ...], param: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await call(room, "POST", "/v1/files", form(*parts))
    assert refused.value.param == param
    assert (await room.count(), await room.keys()) == (0, [])


async def test_a_connection_that_breaks_leaves_nothing(room: Room) -> None:
    with pytest.raises(Cancelled):
        await call(room, "POST", "/v1/files", form(PURPOSE, FILE), cut_off=True)
    assert (await room.count(), await room.keys()) == (0, [])


async def test_what_is_declared_too_large_is_refused_at_once(database: Database, clock: FakeClock) -> None:
    room = Room(database, clock, max_bytes=1_024)
    with pytest.raises(TooLarge):
        await call(room, "POST", "/v1/files", form(PURPOSE, FILE), content_length=str(5_000_000))
    with pytest.raises(TooLarge):
        await call(room, "POST", "/v1/files", form(PURPOSE, ('name="file"; filename="a"', bytes(1_025))))
    assert (await room.count(), await room.keys()) == (0, [])


async def test_each_path_needs_its_permission(room: Room) -> None:
    path = f"/v1/files/file-{(await room.save()).id}"
    reader, writer = (replace(ME, scopes=frozenset({f"files:{verb}"})) for verb in ("read", "write"))
    for caller, method, where in (
        (writer, "GET", "/v1/files"),
        (writer, "GET", path),
        (writer, "GET", f"{path}/content"),
        (reader, "DELETE", path),
        (reader, "POST", "/v1/files"),
        (replace(ME, scopes=frozenset({"inference"})), "GET", "/v1/files"),
    ):
        with pytest.raises(Denied):
            await call(room, method, where, form(PURPOSE, FILE), caller=caller)
    assert len(await room.seen()) == 1


async def test_a_foreign_file_is_refused_as_one_that_is_not_there(room: Room) -> None:
    present, absent = (await room.save()).id, ulid(9)
    for foreign in (SISTER, STRANGER):
        for method, end in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            said: list[str] = []
            for id_ in (present, absent):
                with pytest.raises(NotFound) as refused:
                    await call(room, method, f"/v1/files/file-{id_}{end}", caller=foreign)
                said.append(refused.value.message.replace(id_, "-"))
            assert said[0] == said[1]
    assert await room.seen() == [present]


async def test_paths_and_methods_that_are_none_are_told(room: Room) -> None:
    for method, path in (("PUT", "/v1/files"), ("POST", "/v1/files/file-1"), ("DELETE", "/v1/files/file-1/content")):
        with pytest.raises(MethodNotAllowed):
            await call(room, method, path)
    for path in ("/v1/files/", "/v1/files/a/b", "/v1/files/a/content/b", "/v1/files/nothing"):
        with pytest.raises(NotFound):
            await call(room, "GET", path)


async def test_no_name_of_a_file_breaks_a_header(room: Room) -> None:
    saved = await room.save(name='a"b\r\nx: y;é\\c.txt')
    found = await call(room, "GET", f"/v1/files/file-{saved.id}/content")
    said = found.headers["content-disposition"]
    assert "\r" not in said
    assert "\n" not in said
    assert said.count('"') == 2
