"""Conversations that people save: whose they are, who sees them, and what becomes of them; on both databases."""

from typing import Any

import pytest
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.conversations import service as conversation_service
from polyforge.tenancy.conversations.records import MAX_BYTES, MAX_LEVELS, Conversation
from polyforge.tenancy.conversations.service import ConversationService
from polyforge.tenancy.conversations.tables import conversations
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.erasing.records import Person
from polyforge.tenancy.erasing.service import ErasingService
from polyforge.tenancy.people.store import SystemUserEditor
from tests.support.files import rooms
from tests.support.principals import add_user, install_default
from tests.support.recording import MASTER, recorder
from tests.unit.tenancy.samples import NOW

PANES = {"panes": [{"model": "assistant", "messages": [{"role": "user", "content": "Grüß Gott \u0000 \U0001f600"}]}]}
ELSEWHERE = "0000000000000000000000009P"


class Room:
    """The service, and two people of one project."""

    def __init__(self, database: Database, ann: Caller, ben: Caller) -> None:
        self.clock = FakeClock(NOW)
        self.database = database
        self.told = recorder(self.clock)
        self.service = ConversationService(database, self.clock, self.told, MASTER)
        self.ann, self.ben = ann, ben

    async def save(self, caller: Caller, title: str = "chat", *, shared: bool = False) -> Conversation:
        self.clock.advance(1)
        return await self.service.create(caller, title, PANES, shared=shared)

    async def titles(self, caller: Caller, *, shared: bool = False) -> list[str]:
        found, following = await self.service.page(caller, 100, None, shared=shared)
        assert following is None
        return [each.title for each in found]

    async def rows(self) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            return [dict(row) for row in await session.all(select(conversations))]


@pytest.fixture
async def room(database: Database) -> Room:
    await install_default(database, FakeClock(NOW))
    people = [await add_user(database, NOW, email=f"{name}@example.org", role="developer") for name in ("ann", "ben")]
    return Room(database, *(person(each.id) for each in people))


def person(user_id: str, project_id: str = DEFAULT_PROJECT_ID) -> Caller:
    scopes = frozenset({"inference"})
    return Caller(user_id, "x", DEFAULT_ORGANIZATION_ID, project_id, scopes, kind="user", user_id=user_id)


async def test_a_conversation_is_its_owners_until_it_is_shared(room: Room) -> None:
    made = await room.save(room.ann, "first")
    whole = await room.service.get(room.ann, made.id)
    assert (whole.content, whole.conversation) == (PANES, made)
    assert await room.titles(room.ben) == await room.titles(room.ben, shared=True) == []
    with pytest.raises(NotFound) as hidden:
        await room.service.get(room.ben, made.id)
    with pytest.raises(NotFound) as absent:
        await room.service.get(room.ben, "0" * 26)
    assert hidden.value.message.replace(made.id, "") == absent.value.message.replace("0" * 26, "")
    shared = await room.service.change(room.ann, made.id, 1, {"shared": True})
    assert (shared.version, shared.title, shared.size) == (2, "first", made.size)
    assert await room.titles(room.ben, shared=True) == ["first"]
    assert (await room.service.get(room.ben, made.id)).content == PANES
    with pytest.raises(Denied):
        await room.service.change(room.ben, made.id, 2, {"title": "mine"})
    with pytest.raises(Denied):
        await room.service.remove(room.ben, made.id)
    await room.service.change(room.ann, made.id, 2, {"shared": False})
    with pytest.raises(NotFound):
        await room.service.get(room.ben, made.id)


async def test_a_key_of_the_person_sees_nothing_private(room: Room) -> None:
    """Keys are their project's: whoever else has it must not read what its maker saved."""
    made = await room.save(room.ann)
    key = Caller(
        "0" * 25 + "K", "k", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, room.ann.scopes, user_id=made.owner_id
    )
    with pytest.raises(NotFound):
        await room.service.get(key, made.id)


async def test_another_project_sees_none_of_it(room: Room) -> None:
    made = await room.save(room.ann, shared=True)
    away = person(room.ann.key_id, ELSEWHERE)
    assert await room.titles(away) == await room.titles(away, shared=True) == []
    for attempt in (
        room.service.get(away, made.id),
        room.service.change(away, made.id, 1, {"title": "x"}),
        room.service.remove(away, made.id),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_nobody_overwrites_what_they_have_not_seen(room: Room) -> None:
    made = await room.save(room.ann)
    room.clock.advance(5)
    changed = await room.service.change(room.ann, made.id, 1, {"title": "new", "content": {"panes": []}})
    assert (changed.version, changed.title, changed.size) == (2, "new", len('{"panes":[]}'))
    assert changed.updated_at > made.updated_at
    with pytest.raises(Conflict, match="version 2"):
        await room.service.change(room.ann, made.id, 1, {"content": PANES})
    assert (await room.service.get(room.ann, made.id)).content == {"panes": []}


async def test_lists_go_from_the_latest_change_and_page(room: Room) -> None:
    made = [await room.save(room.ann, f"{number}") for number in range(5)]
    room.clock.advance(1)
    await room.service.change(room.ann, made[1].id, 1, {"title": "changed"})
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        found, cursor = await room.service.page(room.ann, 2, cursor, shared=False)
        seen += [each.title for each in found]
    assert (seen, cursor) == (["changed", "4", "3", "2", "0"], None)
    with pytest.raises(Invalid):
        await room.service.page(room.ann, 2, "no cursor", shared=False)


def nested(levels: int) -> dict[str, Any]:
    """An object with so many levels, itself the first."""
    made: dict[str, Any] = {}
    for _ in range(levels - 1):
        made = {"in": made}
    return made


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"text": "x" * MAX_BYTES}, str(MAX_BYTES)),
        ({"text": "\ud800"}, "JSON"),
        ({"number": float("nan")}, "JSON"),
        (nested(MAX_LEVELS + 1), "nested"),
    ],
    ids=["large", "surrogate", "nan", "deep"],
)
async def test_what_cannot_be_kept_is_refused_by_name(room: Room, content: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        await room.service.create(room.ann, "t", content, shared=False)
    assert refused.value.param == "content"
    made = await room.save(room.ann)
    with pytest.raises(Invalid):
        await room.service.change(room.ann, made.id, 1, {"content": content})


async def test_the_most_that_is_kept_is_kept(room: Room) -> None:
    content = {
        "text": "x" * (MAX_BYTES - len('{"text":""}')),
    }
    made = await room.service.create(room.ann, "t", content, shared=False)
    assert made.size == MAX_BYTES
    assert (await room.service.get(room.ann, made.id)).content == content
    deep = await room.service.create(room.ann, "t", nested(MAX_LEVELS), shared=False)
    assert (await room.service.get(room.ann, deep.id)).content == nested(MAX_LEVELS)


async def test_nobody_saves_without_end(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_service, "MAX_EACH", 2)
    made = [await room.save(room.ann) for _ in range(2)]
    with pytest.raises(Conflict, match="delete some"):
        await room.save(room.ann)
    await room.save(room.ben)
    await room.service.remove(room.ann, made[0].id)
    await room.save(room.ann)


async def test_words_are_sealed_where_they_are_kept(room: Room) -> None:
    made = await room.save(room.ann, "a secret plan")
    (row,) = await room.rows()
    assert b"secret" not in row["title"]
    assert b"assistant" not in row["content"]
    other = ConversationService(room.database, room.clock, room.told, MasterKeys([b"n" * 32]))
    with pytest.raises(Unavailable):
        await other.get(room.ann, made.id)


async def test_the_audit_log_tells_what_others_could_read(room: Room) -> None:
    private = await room.save(room.ann)
    shared = await room.save(room.ann, shared=True)
    await room.service.remove(room.ann, private.id)
    await room.service.change(room.ann, shared.id, 1, {"title": "other"})
    await room.service.change(room.ann, shared.id, 2, {"shared": False})
    await room.service.change(room.ann, shared.id, 3, {"shared": True})
    await room.service.remove(room.ann, shared.id)
    async with room.database.read() as session:
        rows = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    actions = [(row["action"], row["resource_id"]) for row in rows]
    verbs = ("shared", "unshared", "shared", "deleted")
    assert actions == [(f"conversation.{verb}", shared.id) for verb in verbs]


async def test_they_go_with_the_person(room: Room) -> None:
    for caller in (room.ann, room.ann, room.ben):
        await room.save(caller, shared=True)
    erasing = ErasingService(room.database, room.told, MASTER, rooms())
    done = await erasing.erase(room.ben, Person("user", room.ann.key_id), None)
    assert (done.conversations, done.place) == (2, None)
    assert [row["owner_id"] for row in await room.rows()] == [room.ben.key_id]
    async with room.database.write() as session:
        await SystemUserEditor(session).remove(room.ben.key_id)
    assert await room.rows() == []
