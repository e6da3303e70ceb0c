"""Registered models over HTTP, and the worker that makes their versions; on SQLite and on PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import select

from polyforge.adapters.model_sources.file import FileSource, Settings
from polyforge.database.database import Database
from polyforge.database.events.tables import events
from polyforge.kernel.clock import FakeClock
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.registry.artifacts.downloading import Progress
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import Artifact, ArtifactFolder
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.deployments.store import SystemDeployments
from polyforge.registry.versions.api import router
from polyforge.registry.versions.importing import LEASE_SECONDS, Importer
from polyforge.registry.versions.imports import MAX_LIVE, Imports
from polyforge.registry.versions.inspecting import Inspection
from polyforge.registry.versions.pointing import MAX_ALIASES
from polyforge.registry.versions.records import ModelImport
from polyforge.registry.versions.service import ModelRegistry
from polyforge.tenancy.audit.tables import audit_events
from polyforge.tenancy.callers import ALL, Caller
from tests.support.recording import recorder
from tests.support.waiting import eventually_async
from tests.unit.tenancy.samples import NOW, caller

OTHER_PROJECT = "0000000000000000000000009P"


async def inspect(artifact: Artifact, configuration: Any, *, trusted: bool) -> Inspection:
    del trusted
    settings = configuration.get("options", {})
    if "broken" in settings:
        raise Invalid("the graph cannot be run")
    if "bug" in settings:
        raise RuntimeError("nobody foresaw it")
    return Inspection({"inputs": []}, {"files": len(artifact.manifest.files)})


class House:
    """The routes behind a stand-in for the server's middleware, and a worker; `caller` is who calls."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = FakeClock(NOW)
        self.caller: Caller | None = caller(ALL)
        self.models = folder / "models"
        self.models.mkdir()
        self.folder = ArtifactFolder(folder / "artifacts")
        self.sources = {"file": FileSource(Settings())}
        self.settings = ArtifactSettings(keep_free_bytes=0)
        self.imports = self._imports()
        self.importer = self.worker()
        app = FastAPI()
        registry = ModelRegistry(database, self.clock, recorder(self.clock))
        app.include_router(router(registry, self.imports, lambda: None))
        app.exception_handler(PolyforgeError)(_render)
        app.exception_handler(RequestValidationError)(_refuse)
        app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    def _fetcher(self) -> Fetcher:
        return Fetcher(self.folder, self.sources, self.settings, self.clock)

    def _imports(self) -> Imports:
        return Imports(self.database, self.clock, recorder(self.clock), self._fetcher())

    def worker(self) -> Importer:
        return Importer(self.database, self.clock, recorder(self.clock), self._fetcher(), inspect)

    async def __call__(self, method: str, path: str, status: int, body: object = None, **query: Any) -> Any:
        options: dict[str, Any] = {} if body is None else {"json": body}
        answer = await self.client.request(method, f"/api/v1/models{path}", params=query, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def source(self, content: str, name: str = "m") -> str:
        folder = self.models / name
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_text(content)
        return folder.as_uri()

    async def work(self, worker: Importer | None = None) -> None:
        """One round of a worker, to the end of what it begins."""
        worker = worker or self.importer
        await worker._round()
        await asyncio.gather(*worker._tasks.values())

    async def add(self, name: str, content: str, **more: Any) -> Any:
        """A new version, made."""
        wanted = await self("POST", "", 202, {"name": name, "source": self.source(content), **more})
        await self.work()
        return await self("GET", f"/{name}/imports/{wanted['id']}", 200)

    async def told(self) -> list[str]:
        async with self.database.read() as session:
            rows = await session.all(select(audit_events.c.action).order_by(audit_events.c.sequence))
            seen = await session.all(select(events.c.kind).where(events.c.stream == "models"))
        actions = [row["action"] for row in rows]
        assert sorted(actions) == sorted(row["kind"] for row in seen)
        return actions

    async def generation(self) -> int:
        """A number that rises with every change of models."""
        async with self.database.read() as session:
            return await SystemDeployments(session).generation()

    async def _identify(self, request: Request, proceed: Any) -> Any:
        if self.caller is not None:
            request.state.caller = self.caller
        return await proceed(request)


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"detail": error.message}, error.status)


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


@pytest.fixture
async def house(database: Database, tmp_path: Path) -> AsyncIterator[House]:
    made = House(database, tmp_path)
    yield made
    await made.client.aclose()


async def test_a_source_becomes_a_version_with_what_was_found_in_it(house: House) -> None:
    wanted = await house(
        "POST", "", 202, {"name": "minilm", "source": house.source("one"), "card": {"licence": "mit", "files": 7}}
    )
    assert (wanted["state"], wanted["version"]) == ("queued", None)
    await house.work()
    done = await house("GET", f"/minilm/imports/{wanted['id']}", 200)
    assert (done["state"], done["version"], done["bytes_done"], done["bytes_total"]) == ("done", 1, 3, 3)
    version = await house("GET", "/minilm/versions/1", 200)
    assert version["card"] == {"licence": "mit", "files": 1}
    assert (version["signature"], version["bytes"], version["files"]) == ({"inputs": []}, 3, 1)
    assert house.folder.damaged(version["artifact"]) == []
    assert await house.told() == ["model.added", "model_import.requested", "model_version.added"]
    listed = await house("GET", "/registered", 200)
    assert [(each["name"], each["last_version"]) for each in listed["data"]] == [("minilm", 1)]


async def test_the_same_content_again_is_the_same_version(house: House) -> None:
    assert (await house.add("m", "one"))["version"] == 1
    assert (await house.add("m", "one"))["version"] == 1
    assert (await house.add("m", "two"))["version"] == 2
    assert (await house.add("m", "two", configuration={"threads": 1}))["version"] == 3
    page = await house("GET", "/m/versions", 200, limit=2)
    assert ([each["number"] for each in page["data"]], page["next_cursor"]) == ([3, 2], "2")
    page = await house("GET", "/m/versions", 200, limit=2, cursor=2)
    assert ([each["number"] for each in page["data"]], page["next_cursor"]) == ([1], None)


async def test_what_is_wrong_with_a_model_is_told_and_makes_no_version(house: House) -> None:
    assert (await house.add("m", "x", configuration={"options": {"broken": 1}}))["error"] == "the graph cannot be run"
    failed = await house.add("m", "x", configuration={"options": {"bug": 1}})
    assert (failed["state"], failed["error"]) == ("failed", "an unexpected error; the log has it")
    absent = await house("POST", "", 202, {"name": "m", "source": "file:///no/such/folder"})
    await house.work()
    assert "no file or folder" in (await house("GET", f"/m/imports/{absent['id']}", 200))["error"]
    assert (await house("GET", "/m/versions", 200))["data"] == []
    assert (await house.told()).count("model_import.failed") == 3
    refused = await house("POST", "", 400, {"name": "m", "source": "gopher://x"})
    assert "no kind of source" in refused["detail"]


async def test_who_does_not_run_the_installation_gets_at_no_folder_of_it(house: House) -> None:
    house.caller = caller("models:read", "models:write")
    assert "from the folders that the settings name" in (await house.add("m", "one"))["error"]


async def test_aliases_are_promoted_and_rolled_back_with_their_history(house: House) -> None:
    for content in ("one", "two", "three"):
        await house.add("m", content)
    for version in (1, 2, 3):
        await house("POST", "/m/promote", 200, {"version": version, "reason": f"because {version}"})
    assert "already" in (await house("POST", "/m/promote", 409, {"version": 3}))["detail"]
    await house("POST", "/m/promote", 404, {"version": 4})
    assert (await house("POST", "/m/rollback", 200, {"reason": "slow"}))["version"] == 2
    assert (await house("POST", "/m/rollback", 200, {}))["version"] == 1
    await house("POST", "/m/rollback", 409, {})
    await house("POST", "/m/rollback", 404, {"alias": "staging"})
    history = (await house("GET", "/m/deployments", 200))["data"]
    assert [(each["action"], each["version"], each["previous"]) for each in history] == [
        ("rolled_back", 1, 2),
        ("rolled_back", 2, 3),
        ("promoted", 3, 2),
        ("promoted", 2, 1),
        ("promoted", 1, None),
    ]
    assert history[1]["reason"] == "slow"
    assert house.caller is not None
    assert {each["requested_by"] for each in history} == {house.caller.key_id}
    assert (await house("GET", "/m/versions/1", 200))["aliases"] == ["production"]
    assert (await house("DELETE", "/m/aliases/production", 200))["version"] is None
    await house("POST", "/m/rollback", 404, {})


async def test_a_protected_alias_moves_once_somebody_else_approves(house: House) -> None:
    for content in ("one", "two"):
        await house.add("m", content)
    await house("PATCH", "/m/registration", 200, {"protected": ["production"]})
    boss, house.caller = house.caller, caller("models:read", "models:write")
    asked = await house("POST", "/m/promote", 200, {"version": 1})
    assert asked["state"] == "waiting"
    assert (await house("GET", "/m/registration", 200))["aliases"] == []
    await house("POST", f"/m/deployments/{asked['id']}/approve", 403, {})
    await house("PATCH", "/m/registration", 403, {"protected": []})
    author = house.caller
    house.caller = caller("models:approve")
    approved = await house("POST", f"/m/deployments/{asked['id']}/approve", 200, {"reason": "looks good"})
    assert (approved["state"], approved["decided_by"], approved["decision"]) == (
        "done",
        house.caller.key_id,
        "looks good",
    )
    await house("POST", f"/m/deployments/{asked['id']}/reject", 409, {})
    house.caller = author
    first = await house("POST", "/m/promote", 200, {"version": 2})
    second = await house("POST", "/m/promote", 200, {"version": 2, "reason": "really"})
    house.caller = boss
    await house("POST", f"/m/deployments/{first['id']}/approve", 409, {})
    assert (await house("POST", f"/m/deployments/{second['id']}/reject", 200, {}))["state"] == "rejected"
    own = await house("POST", "/m/promote", 200, {"version": 2})
    assert "somebody else" in (await house("POST", f"/m/deployments/{own['id']}/approve", 403, {}))["detail"]
    assert [each["version"] for each in (await house("GET", "/m/registration", 200))["aliases"]] == [1]
    await house("DELETE", "/m", 403)
    await house("DELETE", "/m/aliases/production", 403)


async def test_nobody_approves_with_another_key_what_they_asked_for(house: House) -> None:
    await house.add("m", "one")
    await house("PATCH", "/m/registration", 200, {"protected": ["production"]})
    house.caller = msgspec.structs.replace(caller(ALL), user_id="0000000000000000000000000V")
    asked = await house("POST", "/m/promote", 200, {"version": 1})
    house.caller = msgspec.structs.replace(caller(ALL), user_id="0000000000000000000000000V")
    await house("POST", f"/m/deployments/{asked['id']}/approve", 403, {})


async def test_a_version_goes_when_nothing_points_at_it_and_its_number_never_comes_back(house: House) -> None:
    for content in ("one", "two"):
        await house.add("m", content, promote_to="production")
    await house("DELETE", "/m/versions/2", 409)
    await house("DELETE", "/m/versions/1", 204)
    await house("GET", "/m/versions/1", 404)
    await house("POST", "/m/rollback", 409, {})
    await house("DELETE", "/m", 204)
    await house("GET", "/m/versions", 404)
    assert (await house("GET", "/m/deployments", 200))["data"][0]["action"] == "removed"
    assert (await house.add("m", "two"))["version"] == 3
    assert (await house("GET", "/m/registration", 200))["aliases"] == []


async def test_artifacts_of_no_version_go_after_a_day_and_pinned_ones_stay(house: House) -> None:
    for content in ("one", "two", "three"):
        await house.add("m", content)
    digests = [(await house("GET", f"/m/versions/{number}", 200))["artifact"] for number in (1, 2, 3)]
    house.folder.pin("declared", digests[1])
    for number in (1, 2):
        await house("DELETE", f"/m/versions/{number}", 204)
    await house.importer.sweep()
    assert sorted(digests) == house.folder.digests()
    for digest in digests:
        os.utime(house.folder._home(digest), (1.0, 1.0))
    await house.importer.sweep()
    assert sorted(digests[1:]) == house.folder.digests()
    assert len((await house("GET", "/m/imports", 200))["data"]) == 3
    house.clock.advance(91 * 86_400)
    await house.importer.sweep()
    assert (await house("GET", "/m/imports", 200))["data"] == []
    assert sorted(digests[1:]) == house.folder.digests()


async def test_another_project_sees_and_changes_nothing_of_it(house: House) -> None:
    done = await house.add("m", "one", promote_to="production")
    deployment = (await house("GET", "/m/deployments", 200))["data"][0]["id"]
    await house("PUT", "/m/watch", 200, {"source": house.source("one")})
    house.caller = caller(ALL, project_id=OTHER_PROJECT)
    assert (await house("GET", "/registered", 200))["data"] == []
    for method, path, body in (
        ("GET", "/m/registration", None),
        ("PATCH", "/m/registration", {"description": "mine"}),
        ("GET", "/m/versions", None),
        ("GET", "/m/versions/1", None),
        ("DELETE", "/m/versions/1", None),
        ("GET", "/m/deployments", None),
        ("POST", "/m/promote", {"version": 1}),
        ("POST", "/m/rollback", {}),
        ("POST", f"/m/deployments/{deployment}/approve", {}),
        ("POST", f"/m/deployments/{deployment}/reject", {}),
        ("GET", "/m/imports", None),
        ("GET", f"/m/imports/{done['id']}", None),
        ("POST", f"/m/imports/{done['id']}/cancel", None),
        ("GET", "/m/watch", None),
        ("DELETE", "/m/watch", None),
        ("DELETE", "/m/aliases/production", None),
        ("DELETE", "/m", None),
    ):
        await house(method, path, 404, body)
    assert (await house.add("m", "other"))["version"] == 1
    await house("GET", f"/m/imports/{done['id']}", 404)
    await house("POST", f"/m/deployments/{deployment}/approve", 404, {})


async def test_what_a_worker_left_another_goes_on_with(house: House) -> None:
    wanted = await house("POST", "", 202, {"name": "m", "source": house.source("one")})
    gone = house.worker()
    gone._make = _forever
    await gone._round()
    await house.work()
    assert (await house("GET", f"/m/imports/{wanted['id']}", 200))["state"] == "running"
    house.clock.advance(LEASE_SECONDS + 1)
    await house.work()
    assert (await house("GET", f"/m/imports/{wanted['id']}", 200))["state"] == "done"
    left = list(gone._tasks.values())
    await asyncio.gather(*left)
    assert (await house("GET", f"/m/imports/{wanted['id']}", 200))["state"] == "done"


async def test_a_worker_that_ends_gives_its_imports_back(house: House) -> None:
    wanted = await house("POST", "", 202, {"name": "m", "source": house.source("one")})
    ending = house.worker()
    ending._make = _forever
    running = asyncio.create_task(ending.run())
    await eventually_async(lambda: bool(ending._tasks))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await house("GET", f"/m/imports/{wanted['id']}", 200))["state"] == "queued"
    await house.work()
    assert (await house("GET", f"/m/imports/{wanted['id']}", 200))["state"] == "done"


async def test_a_cancelled_import_makes_no_version(house: House) -> None:
    wanted = await house("POST", "", 202, {"name": "m", "source": house.source("one")})
    worker = house.worker()
    worker._make = _forever
    await worker._round()
    assert (await house("POST", f"/m/imports/{wanted['id']}/cancel", 200))["state"] == "cancelled"
    await asyncio.gather(*worker._tasks.values())
    await house("POST", f"/m/imports/{wanted['id']}/cancel", 409)
    assert (await house("GET", "/m/versions", 200))["data"] == []


async def test_what_is_new_and_settled_at_a_watched_source_becomes_a_version_and_is_promoted(house: House) -> None:
    watch = {"source": house.source("one"), "every_seconds": 10, "promote_to": "staging"}
    await house("PUT", "/m/watch", 200, watch)
    await house.work()
    assert (await house("GET", "/m/imports", 200))["data"] == []
    house.clock.advance(11)
    await house.work()
    assert (await house("GET", "/m/versions", 200))["data"][0]["aliases"] == ["staging"]
    house.clock.advance(11)
    await house.work()
    assert len((await house("GET", "/m/imports", 200))["data"]) == 1
    house.source("a second one")
    house.clock.advance(11)
    await house.work()
    assert len((await house("GET", "/m/versions", 200))["data"]) == 1
    house.source("a second one, longer")
    house.clock.advance(11)
    await house.work()
    assert len((await house("GET", "/m/versions", 200))["data"]) == 1
    house.clock.advance(11)
    await house.work()
    assert [each["aliases"] for each in (await house("GET", "/m/versions", 200))["data"]] == [["staging"], []]
    (house.models / "m" / "link").symlink_to("/etc")
    house.clock.advance(11)
    await house.work()
    assert "is a link" in (await house("GET", "/m/watch", 200))["error"]
    (house.models / "m" / "link").unlink()
    house.clock.advance(11)
    await house.work()
    assert (await house("GET", "/m/watch", 200))["error"] == ""
    await house("DELETE", "/m/watch", 204)
    await house("GET", "/m/watch", 404)


async def test_what_a_watch_saw_while_it_was_taken_away_makes_no_version(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = {"source": house.source("one"), "every_seconds": 10, "promote_to": "production"}
    await house("PUT", "/m/watch", 200, watch)
    await house.work()
    worker = house.worker()
    look = worker._fetcher.look

    async def slowly(*asked: Any) -> Any:
        found = await look(*asked)
        await house("DELETE", "/m", 204)
        return found

    monkeypatch.setattr(worker._fetcher, "look", slowly)
    house.clock.advance(11)
    await house.work(worker)
    assert (await house("GET", "/m/imports", 200))["data"] == []


async def test_what_one_watch_saw_is_not_noted_of_the_next(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house("PUT", "/m/watch", 200, {"source": house.source("one"), "every_seconds": 10})
    worker = house.worker()

    async def slowly(*_: Any) -> Any:
        house.clock.advance(1)
        await house("PUT", "/m/watch", 200, {"source": house.source("two", "other"), "every_seconds": 10})
        raise Invalid("the first folder cannot be read")

    monkeypatch.setattr(worker._fetcher, "look", slowly)
    await house.work(worker)
    assert (await house("GET", "/m/watch", 200))["error"] == ""


async def test_a_source_that_breaks_as_nobody_foresaw_stops_no_other_watch_or_import(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house("PUT", "/broken/watch", 200, {"source": house.source("one", "broken"), "every_seconds": 10})
    await house("POST", "", 202, {"name": "m", "source": house.source("two")})
    look = house.importer._fetcher.look

    async def broken(reference: Any, *more: Any) -> Any:
        if "broken" in reference.url:
            raise RuntimeError("nobody foresaw it")
        return await look(reference, *more)

    monkeypatch.setattr(house.importer._fetcher, "look", broken)
    await house.work()
    assert (await house("GET", "/broken/watch", 200))["error"] == "an unexpected error; the log has it"
    assert len((await house("GET", "/m/versions", 200))["data"]) == 1


async def test_a_disk_that_fails_under_the_sweep_ends_no_worker(house: House) -> None:
    await house.work()
    house.clock.advance(7200)
    (house.folder._root / "pins" / "not-a-file").mkdir(parents=True)
    await house.work()
    assert (await house.add("m", "one"))["state"] == "done"


async def test_a_version_that_cannot_be_promoted_fails_once_and_with_the_reason(house: House) -> None:
    await house.add("m", "one")
    for number in range(MAX_ALIASES):
        await house("POST", "/m/promote", 200, {"version": 1, "alias": f"a{number}"})
    made = await house.add("m", "two", promote_to="one-more")
    assert made["state"] == "failed"
    assert "as many as there may be" in made["error"]
    assert len((await house("GET", "/m/versions", 200))["data"]) == 1


async def test_there_is_an_end_to_what_may_be_asked_for_at_once(house: House) -> None:
    for _ in range(MAX_LIVE):
        await house("POST", "", 202, {"name": "m", "source": house.source("one")})
    await house("POST", "", 409, {"name": "m", "source": house.source("one")})


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1e999}'])
async def test_what_json_does_not_have_is_refused(house: House, text: str) -> None:
    content = f'{{"name": "m", "source": "file:///a", "card": {text}}}'
    answer = await house.client.post("/api/v1/models", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": "../a"},
        {"source": "/no/scheme"},
        {"source": "file:///a\n"},
        {"sha256": "abc"},
        {"promote_to": "1"},
        {"configuration": {"options": {"a": "x" * 70_000}}},
        {"other": 1},
    ],
)
async def test_bodies_that_are_refused(house: House, body: dict[str, Any]) -> None:
    await house("POST", "", 400, {"name": "m", "source": "file:///a", **body})


async def test_permissions(house: House) -> None:
    house.caller = caller("models:read")
    await house("POST", "", 403, {"name": "m", "source": "file:///a"})
    await house("DELETE", "/m", 403)
    house.caller = caller("inference")
    await house("GET", "/registered", 403)


async def _forever(wanted: ModelImport, progress: Progress) -> Any:
    await asyncio.Event().wait()
