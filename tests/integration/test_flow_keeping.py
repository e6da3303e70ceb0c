"""Flows as they are kept: drafts, versions, what points at them, and who may see them; on both databases."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import select

from polyforge.database.database import Database
from polyforge.flows.canonical import save, version_id
from polyforge.flows.document import Document, written
from polyforge.flows.keeping import drafts as drafts_module
from polyforge.flows.keeping import pointing, service
from polyforge.flows.keeping.tables import flow_alias_changes, flow_drafts, flow_versions, flows
from polyforge.flows.reading import read
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Conflict, Faulty, Invalid, NotFound, Outdated
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import Caller
from tests.support.flow_rooms import FlowRooms, broken, caller, saying
from tests.support.flows import loaded
from tests.support.principals import install_default
from tests.unit.tenancy.samples import NOW

ELSEWHERE = "0000000000000000000000009P"
AWAY = caller(ELSEWHERE)
ME = caller()


@pytest.fixture
async def rooms(database: Database) -> FlowRooms:
    await install_default(database, FakeClock(NOW))
    return FlowRooms(database)


async def rows(database: Database, table: Any) -> list[dict[str, Any]]:
    async with database.read() as session:
        return [dict(row) for row in await session.all(select(table))]


async def test_a_flow_begins_as_a_draft(rooms: FlowRooms) -> None:
    made = await rooms.create("one", "Écho écho!")
    assert (made.flow.slug, made.flow.title, made.row.revision, made.row.base) == ("echo-echo", "Écho écho!", 1, None)
    assert made.problems == ()
    assert (await rooms.create(title="Écho écho!")).flow.slug == "echo-echo-2"
    shown, row = await rooms.flows.get(ME, "echo-echo")
    assert (shown.flow, shown.aliases, row.version) == (made.flow, [], version_id(made.document))
    with pytest.raises(Conflict, match="commit its draft"):
        await rooms.flows.resolve(ME, "echo-echo")
    with pytest.raises(Conflict, match="commit it"):
        await rooms.flows.resolve(ME, "echo-echo@draft")


async def test_an_empty_flow_can_be_made(rooms: FlowRooms) -> None:
    made = await rooms.flows.create(ME)
    assert (made.flow.slug, made.document) == ("untitled-flow", Document(name="Untitled flow"))
    named = await rooms.flows.create(ME, slug="mine", title="Mine")
    assert (named.flow.slug, named.document.name) == ("mine", "Mine")


@pytest.mark.parametrize("slug", ["", "Mine", "a b", "import", "-a", "flow_01", "x" * 64, "a\n", "é"])
async def test_short_names_are_plain(rooms: FlowRooms, slug: str) -> None:
    with pytest.raises(Invalid) as refused:
        await rooms.create(slug=slug)
    assert refused.value.param == "slug"


async def test_short_names_are_unique_among_those_that_are_not_put_away(rooms: FlowRooms) -> None:
    first = await rooms.create(slug="mine")
    with pytest.raises(Conflict, match="mine"):
        await rooms.create(slug="mine")
    second = await rooms.create(slug="other")
    with pytest.raises(Conflict, match="mine"):
        await rooms.flows.rename(ME, "other", "mine")
    await rooms.flows.archive(ME, "mine")
    await rooms.flows.rename(ME, "other", "mine")
    assert (await rooms.flows.get(ME, "mine"))[0].flow.id == second.flow.id
    await rooms.flows.restore(ME, first.flow.id)
    assert (await rooms.flows.get(ME, "mine-2"))[0].flow.id == first.flow.id


async def test_flows_made_at_once_get_names_of_their_own(rooms: FlowRooms) -> None:
    made = await asyncio.gather(*(rooms.create() for _ in range(5)))
    assert sorted(each.flow.slug for each in made) == ["echo", "echo-2", "echo-3", "echo-4", "echo-5"]


async def test_a_draft_is_kept_as_it_is_written(rooms: FlowRooms) -> None:
    whole = saying("one", say={"x": 1.5, "y": -20})
    made = await rooms.flows.create(ME, document=loaded(whole))
    shown = await rooms.drafts.get(ME, made.flow.id)
    assert written(shown.document)["ui"] == {"say": {"x": 1.5, "y": -20}}
    _, exported = await rooms.versions.export(ME, made.flow.id, None)
    assert exported == save(made.document)
    reading = read(exported)
    assert reading.document == made.document


async def test_a_draft_may_be_wrong_and_a_version_may_not(rooms: FlowRooms) -> None:
    made = await rooms.create()
    saved = await rooms.drafts.save(ME, made.flow.id, loaded(broken()), 1)
    assert [(each.code, each.node) for each in saved.problems if each.severity == "error"] == [("unknown_node", "out")]
    assert (await rooms.drafts.get(ME, made.flow.id)).problems == saved.problems
    with pytest.raises(Faulty, match="node out") as refused:
        await rooms.drafts.commit(ME, made.flow.id, "", None)
    assert refused.value.param == "out"
    assert [each["code"] for each in refused.value.problems if each.get("severity") != "warning"] == ["unknown_node"]
    assert await rows(rooms.database, flow_versions) == []


async def test_nobody_overwrites_a_draft_that_they_have_not_seen(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    rooms.clock.advance(5)
    saved = await rooms.drafts.save(ME, made.flow.id, loaded(saying("two")), 1)
    assert saved.row.revision == 2
    assert (await rooms.flows.get(ME, "echo"))[0].flow.updated_at > made.flow.updated_at
    rooms.clock.advance(5)
    with pytest.raises(Outdated) as refused:
        await rooms.drafts.save(ME, made.flow.id, loaded(saying("three")), 1)
    current = refused.value.current
    assert (current["revision"], current["changed_by"]) == (2, ME.key_id)
    (change,) = current["differences"]["nodes"]["changed"]
    assert (change["id"], change["fields"][0]["value"]) == ("say", "two")
    assert (await rooms.drafts.get(ME, made.flow.id)).document == loaded(saying("two"))
    same = await rooms.drafts.save(ME, made.flow.id, loaded(saying("two")), 2)
    assert (same.row.revision, (await rooms.flows.get(ME, made.flow.id))[0].flow.updated_at) == (
        2,
        saved.row.updated_at,
    )
    anyhow = await rooms.drafts.save(ME, made.flow.id, loaded(saying("four")), None)
    assert anyhow.row.revision == 3


async def test_of_two_who_save_at_once_one_is_told(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    attempts = [rooms.drafts.save(ME, made.flow.id, loaded(saying(text)), 1) for text in ("two", "three", "four")]
    done = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Draft", "Outdated", "Outdated"]
    assert (await rooms.drafts.get(ME, made.flow.id)).row.revision == 2


async def test_a_commit_makes_a_version_once(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    first = await rooms.drafts.commit(ME, "echo", "the first", 1)
    assert (first.created, first.info.number, first.info.parent, first.info.message) == (True, 1, None, "the first")
    assert first.info.version == version_id(made.document)
    again = await rooms.drafts.commit(ME, "echo", "again", None)
    assert (again.created, again.info) == (False, first.info)
    moved = saying("one", say={"x": 9})
    await rooms.drafts.save(ME, "echo", loaded(moved), None)
    assert (await rooms.drafts.commit(ME, "echo", "moved", None)).info == first.info
    second = await rooms.commit("echo", "two")
    assert (second.number, second.parent) == (2, first.info.version)
    with pytest.raises(Outdated):
        await rooms.drafts.commit(ME, "echo", "", 1)
    found, following = await rooms.versions.page(ME, "echo", 1, None)
    assert (found, following) == ([second], 2)
    assert await rooms.versions.page(ME, "echo", 1, following) == ([first.info], None)
    info, document = await rooms.versions.get(ME, "echo", "1")
    assert (info, document) == (first.info, made.document)


async def test_of_those_who_commit_at_once_one_makes_the_version(rooms: FlowRooms) -> None:
    await rooms.create("one")
    done = await asyncio.gather(*(rooms.drafts.commit(ME, "echo", f"{number}", None) for number in range(4)))
    assert sorted(each.created for each in done) == [False, False, False, True]
    assert len({each.info.message for each in done}) == 1
    assert (await rooms.versions.page(ME, "echo", 9, None))[0] == [done[0].info]


async def test_going_back_to_what_was_committed_makes_it_the_latest(rooms: FlowRooms) -> None:
    await rooms.create("one")
    first, second = await rooms.commit("echo", "one"), await rooms.commit("echo", "two")
    assert (await rooms.flows.resolve(ME, "echo")).version == second.version
    assert await rooms.commit("echo", "one") == first
    assert (await rooms.flows.resolve(ME, "echo")).version == first.version
    assert (await rooms.commit("echo", "three")).parent == first.version


async def test_references_name_one_version(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    first, second = await rooms.commit("echo", "one"), await rooms.commit("echo", "two")
    await rooms.aliases.point(ME, "echo", "staging", first.version, "")
    for reference, wanted in (
        ("echo", second),
        (made.flow.id, second),
        ("echo@latest", second),
        ("echo@1", first),
        ("echo@staging", first),
        (f"echo@{first.version}", first),
        (f"{made.flow.id}@{first.version[:8]}", first),
    ):
        found = await rooms.flows.resolve(ME, reference)
        assert (found.flow_id, found.flow_name, found.version) == (made.flow.id, "echo", wanted.version), reference
        assert version_id(found.document) == wanted.version
    again = await rooms.flows.resolve(ME, "echo@1")
    assert again.document is (await rooms.flows.resolve(ME, f"echo@{first.version}")).document
    await rooms.aliases.point(ME, "echo", "prod", "1", "")
    live = await rooms.flows.resolve(ME, "echo")
    assert (live.version, live.alias, live.number, live.title) == (first.version, "prod", 1, "Echo")
    for reference in ("gone", "echo@gone", "echo@9", f"echo@{'0' * 64}", "echo@", "echo@a@b", "", "@prod", "e\0cho"):
        with pytest.raises(NotFound):
            await rooms.flows.resolve(ME, reference)


async def test_an_alias_moves_and_goes_back_with_its_history(rooms: FlowRooms) -> None:
    await rooms.create("one")
    infos = [await rooms.commit("echo", text) for text in ("one", "two", "three")]
    one, two, three = (info.version for info in infos)
    for version in (one, two, three):
        await rooms.aliases.point(ME, "echo", "prod", version, f"to {version[:4]}")
    assert (await rooms.aliases.roll_back(ME, "echo", "prod", "bad")).version == two
    assert (await rooms.aliases.roll_back(ME, "echo", "prod", "")).version == one
    with pytest.raises(Conflict, match="no other version"):
        await rooms.aliases.roll_back(ME, "echo", "prod", "")
    await rooms.aliases.point(ME, "echo", "prod", three, "")
    assert (await rooms.aliases.roll_back(ME, "echo", "prod", "")).version == one
    await rooms.aliases.remove(ME, "echo", "prod", "done")
    assert await rooms.aliases.all(ME, "echo") == []
    history, following = await rooms.aliases.history(ME, "echo", 100, None, "prod")
    told = [(each.action, each.previous, each.version) for each in reversed(history)]
    assert told == [
        ("set", None, one),
        ("set", one, two),
        ("set", two, three),
        ("rolled_back", three, two),
        ("rolled_back", two, one),
        ("set", one, three),
        ("rolled_back", three, one),
        ("removed", one, None),
    ]
    assert (history[4].note, history[4].changed_by, following) == ("bad", ME.key_id, None)
    with pytest.raises(NotFound):
        await rooms.aliases.roll_back(ME, "echo", "prod", "")


async def test_an_alias_that_points_there_already_leaves_no_trace(rooms: FlowRooms) -> None:
    await rooms.create("one")
    first = await rooms.commit("echo", "one")
    for _ in range(2):
        await rooms.aliases.point(ME, "echo", "prod", first.version, "")
    assert len(await rows(rooms.database, flow_alias_changes)) == 1


@pytest.mark.parametrize("alias", ["draft", "latest", "Prod", "1", "deadbeef01", "a b", "a\0", "x" * 64, ""])
async def test_an_alias_is_never_taken_for_something_else(rooms: FlowRooms, alias: str) -> None:
    await rooms.create("one")
    await rooms.commit("echo", "one")
    with pytest.raises(Invalid) as refused:
        await rooms.aliases.point(ME, "echo", alias, "latest", "")
    assert refused.value.param == "alias"
    with pytest.raises(NotFound):
        await rooms.aliases.remove(ME, "echo", alias, "")


async def test_the_history_of_aliases_is_bounded(rooms: FlowRooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointing, "MAX_CHANGES", 3)
    monkeypatch.setattr(pointing, "MAX_ALIASES", 1)
    await rooms.create("one")
    await rooms.commit("echo", "one")
    await rooms.commit("echo", "two")
    for number in (1, 2, 1, 2, 1):
        await rooms.aliases.point(ME, "echo", "prod", str(number), "")
    assert len(await rows(rooms.database, flow_alias_changes)) == 3
    with pytest.raises(Conflict, match="as many as there may be"):
        await rooms.aliases.point(ME, "echo", "other", "1", "")


async def test_versions_are_taken_away_only_where_nothing_needs_them(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    infos = [await rooms.commit("echo", text) for text in ("one", "two", "three")]
    await rooms.aliases.point(ME, "echo", "prod", "2", "")
    with pytest.raises(Conflict, match="latest"):
        await rooms.versions.remove(ME, "echo", "3")
    with pytest.raises(Conflict, match="prod"):
        await rooms.versions.remove(ME, "echo", "2")
    needed = _Needed(made.flow.id, infos[0].version)
    rooms.flows.needed_by(needed)
    with pytest.raises(Conflict, match="a run is under way"):
        await rooms.versions.remove(ME, "echo", "1")
    needed.still = False
    await rooms.versions.remove(ME, "echo", "1")
    with pytest.raises(NotFound):
        await rooms.versions.get(ME, "echo", "1")
    assert (await rooms.commit("echo", "four")).number == 4


class _Needed:
    def __init__(self, flow_id: str, version: str) -> None:
        self.still = True
        self._known = (flow_id, version)

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        assert caller == ME
        mine = flow_id == self._known[0] and version in (None, self._known[1])
        return "a run is under way; cancel it first" if mine and self.still else None

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        return await self.why(caller, flow_id, None)


class _Beginning:
    """A run that begins right after somebody looked whether there is one."""

    def __init__(self) -> None:
        self.looks = 0

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        self.looks += 1
        return "it began meanwhile" if self.looks > 1 else None

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        return await self.why(caller, flow_id, None)


async def test_what_is_needed_since_somebody_looked_stays(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    for text in ("one", "two"):
        await rooms.commit("echo", text)
    begins = _Beginning()
    rooms.flows.needed_by(begins)
    with pytest.raises(Conflict, match="it began meanwhile"):
        await rooms.versions.remove(ME, "echo", "1")
    begins.looks = 0
    await rooms.flows.archive(ME, "echo")
    begins.looks = 0
    with pytest.raises(Conflict, match="it began meanwhile"):
        await rooms.flows.remove(ME, made.flow.id)
    assert len(await rows(rooms.database, flow_versions)) == 2


async def test_a_flow_is_put_away_and_comes_back_or_goes(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    first = await rooms.commit("echo", "one")
    needed = _Needed(made.flow.id, first.version)
    rooms.flows.needed_by(needed)
    with pytest.raises(Conflict, match="a run is under way"):
        await rooms.flows.archive(ME, "echo")
    needed.still = False
    with pytest.raises(Conflict, match="away first"):
        await rooms.flows.remove(ME, "echo")
    await rooms.flows.archive(ME, "echo")
    await rooms.flows.archive(ME, made.flow.id)
    with pytest.raises(NotFound):
        await rooms.flows.resolve(ME, "echo")
    for refused in (
        rooms.flows.resolve(ME, made.flow.id),
        rooms.drafts.save(ME, made.flow.id, loaded(saying("x")), None),
        rooms.drafts.commit(ME, made.flow.id, "", None),
        rooms.aliases.point(ME, made.flow.id, "prod", "1", ""),
        rooms.flows.rename(ME, made.flow.id, "other"),
    ):
        with pytest.raises(Conflict, match="restore"):
            await refused
    assert (await rooms.versions.get(ME, made.flow.id, "1"))[0] == first
    assert await rooms.versions.document(ME, made.flow.id, first.version) == made.document
    with pytest.raises(NotFound):
        await rooms.versions.document(ME, made.flow.id, "prod")
    assert [each.flow.slug for each in (await rooms.flows.page(ME, 9, None))[0]] == []
    assert [each.flow.slug for each in (await rooms.flows.page(ME, 9, None, archived=True))[0]] == ["echo"]
    await rooms.flows.restore(ME, made.flow.id)
    assert (await rooms.flows.resolve(ME, "echo")).version == first.version
    await rooms.flows.archive(ME, "echo")
    run = _Running(first.version)
    rooms.flows.needed_by(run)
    with pytest.raises(Conflict, match="still"):
        await rooms.flows.remove(ME, made.flow.id)
    run.over = True
    await rooms.flows.remove(ME, made.flow.id)
    for table in (flows, flow_drafts, flow_versions):
        assert await rows(rooms.database, table) == []


class _Running:
    """A run that needs its version, and does not mind that the flow is put away."""

    def __init__(self, version: str) -> None:
        self.over = False
        self._version = version

    async def why(self, caller: Caller, flow_id: str, version: str | None) -> str | None:
        assert caller == ME
        return "it runs still" if flow_id and version == self._version and not self.over else None

    async def why_any(self, caller: Caller, flow_id: str) -> str | None:
        return await self.why(caller, flow_id, self._version)


async def test_lists_go_from_the_latest_change_and_are_searched(rooms: FlowRooms) -> None:
    for title in ("Alpha", "Beta 100%", "Gamma_x", "Delta"):
        await rooms.create(title=title)
    rooms.clock.advance(9)
    await rooms.drafts.save(ME, "alpha", loaded(saying("two", "Alpha two")), None)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(2):
        found, cursor = await rooms.flows.page(ME, 2, cursor)
        seen += [each.flow.title for each in found]
    assert (seen, cursor) == (["Alpha two", "Delta", "Gamma_x", "Beta 100%"], None)
    for search, titles in (("TA", ["Delta", "Beta 100%"]), ("0%", ["Beta 100%"]), ("a_x", ["Gamma_x"]), ("\0", [])):
        assert [each.flow.title for each in (await rooms.flows.page(ME, 9, None, search=search))[0]] == titles
    with pytest.raises(Invalid):
        await rooms.flows.page(ME, 9, "no cursor")


async def test_what_a_flow_is_called_stands_in_its_draft(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    await rooms.drafts.describe(ME, "echo", "Parrot", "It repeats.")
    shown, row = await rooms.flows.get(ME, made.flow.id)
    assert (shown.flow.title, shown.flow.description, row.revision) == ("Parrot", "It repeats.", 2)
    draft = await rooms.drafts.get(ME, "echo")
    assert (draft.document.name, draft.document.description) == ("Parrot", "It repeats.")
    await rooms.drafts.describe(ME, "echo", None, "")
    assert (await rooms.drafts.get(ME, "echo")).document.description is None
    with pytest.raises(Faulty):
        await rooms.drafts.describe(ME, "echo", "hidden \u202e name", None)


async def test_differences_are_between_any_two(rooms: FlowRooms) -> None:
    await rooms.create("one")
    first = await rooms.commit("echo", "say the one thing")
    await rooms.aliases.point(ME, "echo", "prod", "1", "")
    await rooms.drafts.save(ME, "echo", loaded(saying("say the other thing")), None)
    compared = await rooms.versions.compare(ME, "echo", "prod", "draft")
    assert (compared.before, compared.after) == (first.version, None)
    (change,) = compared.differences.nodes.changed
    (words,) = change.texts.values()
    assert [(each.what, each.text) for each in words] == [
        ("same", "say the "),
        ("removed", "one"),
        ("added", "other"),
        ("same", " thing"),
    ]
    assert (await rooms.versions.compare(ME, "echo", "prod", "1")).differences.same_version
    for wrong, field in ((("gone", "draft"), "from"), (("prod", "9"), "to")):
        with pytest.raises(Invalid) as refused:
            await rooms.versions.compare(ME, "echo", *wrong)
        assert refused.value.param == field


async def test_two_who_changed_the_same_draft_are_merged(rooms: FlowRooms) -> None:
    await rooms.create("one")
    await rooms.commit("echo", "one")
    ours, theirs = saying("one", "Ours"), saying("two")
    await rooms.drafts.save(ME, "echo", loaded(theirs), None)
    done = await rooms.versions.merge(ME, "echo", "latest", ours, "draft")
    assert done.merged.document == loaded(saying("two", "Ours"))
    assert (done.merged.conflicts, done.problems) == ((), ())
    clash = await rooms.versions.merge(ME, "echo", "latest", saying("three"), "draft")
    assert [(each.kind, each.id) for each in clash.merged.conflicts] == [("both_changed", "say")]
    with pytest.raises(Faulty) as refused:
        await rooms.versions.merge(ME, "echo", "latest", {"schema": "flow.v0"}, "draft")
    assert (refused.value.param, refused.value.problems[0]["code"]) == ("ours", "unknown_schema")


async def test_nothing_grows_without_end(rooms: FlowRooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_FLOWS", 1)
    monkeypatch.setattr(drafts_module, "MAX_VERSIONS", 2)
    await rooms.create("one")
    with pytest.raises(Conflict, match="which is the most"):
        await rooms.create("two")
    await rooms.commit("echo", "one")
    await rooms.commit("echo", "two")
    with pytest.raises(Conflict, match="remove some"):
        await rooms.commit("echo", "three")
    await rooms.versions.remove(ME, "echo", "1")
    monkeypatch.setattr(drafts_module, "MAX_VERSION_BYTES", 500)
    with pytest.raises(Conflict, match="remove some"):
        await rooms.commit("echo", "three")


async def test_another_project_sees_none_of_it(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    await rooms.commit("echo", "one")
    assert (await rooms.flows.page(AWAY, 9, None))[0] == []
    for name in (made.flow.id, "echo"):
        for attempt in (
            rooms.flows.get(AWAY, name),
            rooms.flows.resolve(AWAY, f"{name}@1"),
            rooms.flows.archive(AWAY, name),
            rooms.flows.restore(AWAY, name),
            rooms.flows.remove(AWAY, name),
            rooms.flows.rename(AWAY, name, "mine"),
            rooms.drafts.get(AWAY, name),
            rooms.drafts.save(AWAY, name, made.document, None),
            rooms.drafts.commit(AWAY, name, "", None),
            rooms.versions.page(AWAY, name, 9, None),
            rooms.versions.get(AWAY, name, "1"),
            rooms.versions.remove(AWAY, name, "1"),
            rooms.versions.compare(AWAY, name, "1", "draft"),
            rooms.versions.export(AWAY, name, None),
            rooms.aliases.all(AWAY, name),
            rooms.aliases.point(AWAY, name, "prod", "1", ""),
        ):
            with pytest.raises(NotFound, match="there is no flow"):
                await attempt
    theirs = await rooms.flows.create(AWAY, document=made.document, slug="echo")
    assert theirs.flow.id != made.flow.id


async def test_every_change_is_in_the_audit_log(rooms: FlowRooms) -> None:
    made = await rooms.create("one")
    first = await rooms.commit("echo", "one", "why")
    await rooms.commit("echo", "two")
    for version in ("1", "2"):
        await rooms.aliases.point(ME, "echo", "prod", version, "note")
    await rooms.aliases.roll_back(ME, "echo", "prod", "")
    await rooms.flows.rename(ME, "echo", "parrot")
    await rooms.aliases.remove(ME, "parrot", "prod", "")
    await rooms.versions.remove(ME, "parrot", "1")
    await rooms.flows.archive(ME, "parrot")
    await rooms.flows.restore(ME, made.flow.id)
    await rooms.flows.archive(ME, "parrot")
    await rooms.flows.remove(ME, made.flow.id)
    async with rooms.database.read() as session:
        events = await session.all(select(audit_events).order_by(audit_events.c.sequence))
    assert {event["resource_id"] for event in events} == {made.flow.id}
    assert [event["action"].removeprefix("flow.") for event in events] == [
        "created", "committed", "draft_saved", "committed", "alias_set", "alias_set", "alias_rolled_back", "renamed",
        "alias_removed", "version_removed", "archived", "restored", "archived", "removed",
    ]  # fmt: skip
    told = json.loads(events[1]["after"])
    assert told == {"flow": "echo", "version": first.version, "number": 1, "message": "why"}
    moved = [json.loads(events[5][side])["version"] for side in ("before", "after")]
    assert moved[0] == first.version != moved[1]
