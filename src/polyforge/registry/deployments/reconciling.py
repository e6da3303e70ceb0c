"""Makes one machine serve what the registry wants, again and again, without a request that fails on the way.

A version is fetched, pinned, handed to the host, and only when the host says that it is ready do names move to it. What
no name leads to any more stays in the host for a while, for requests that are on their way.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.ports.model_source import SourceReference
from polyforge.registry.answering import MAX_ANSWERING, AnsweringModel, read_answering, write_answering
from polyforge.registry.artifacts.downloading import Progress
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import Artifact
from polyforge.registry.deployments.moving import moved, names_of
from polyforge.registry.deployments.records import HostState, Published, Serving, WantedModel
from polyforge.registry.deployments.saying import Sayings
from polyforge.registry.deployments.store import SystemDeployments, TuningEditor
from polyforge.registry.versions.records import Version
from polyforge.telemetry.logs import get_logger

_LOOK_SECONDS: Final = 5.0
_BUSY_SECONDS: Final = 0.25
"""How soon it looks again while something is on its way."""
_GRACE_SECONDS: Final = 5.0
"""How long the host keeps what no name leads to any more."""
_RETRY_SECONDS: Final = 60.0
_FETCHES: Final = 2
_BROKEN: Final = "an unexpected error; the log has it"

_log = get_logger(__name__)


class Hosting(Protocol):
    """The model host of this machine. Every failure is a `PolyforgeError`."""

    async def published(self) -> Sequence[Published]:
        """What it was last told to serve."""
        ...

    async def publish(self, models: Sequence[Published]) -> None:
        """Have it serve these versions and no others, beside the declared models."""
        ...

    async def states(self) -> Mapping[str, HostState]:
        """How each version does, by its name there."""
        ...


class Tunings(Protocol):
    """What was measured of models, where the host of this machine reads and writes it."""

    def read(self) -> Mapping[str, Mapping[str, Any]]:
        """By the digest of the artifact, and then by the kind of machine; blocks."""
        ...

    def add(self, digest: str, kind: str, measured: Mapping[str, Any]) -> None:
        """Have the host know what another machine measured; Unavailable when that is not possible; blocks."""
        ...


class Reconciler:
    """One per machine."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        fetcher: Fetcher,
        host: Hosting,
        tunings: Tunings,
        sayings: Sayings,
        answering: Path,
    ) -> None:
        self._database = database
        self._clock = clock
        self._fetcher = fetcher
        self._host = host
        self._tunings = tunings
        self._sayings = sayings
        self._path = answering
        self._wake = asyncio.Event()
        self._generation: int | None = None
        self._wanted: Sequence[WantedModel] = ()
        self._live: set[str] = set()
        self._answering: tuple[AnsweringModel, ...] = ()
        self._here: dict[str, Artifact] = {}
        self._held: dict[str, Published] = {}
        self._left: dict[str, float] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._measured: dict[tuple[str, str], Mapping[str, Any]] = {}
        """What this process said of versions, by kind of machine."""
        self._busy = True
        self._begun = False

    def wake(self) -> None:
        """Look at once for something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self.round()
                except (PolyforgeError, OSError) as error:
                    _log.warning("registered models stay as they are", reason=str(error))
                await self._pause()
        finally:
            for task in self._fetches.values():
                task.cancel()
            await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_BUSY_SECONDS if self._busy else _LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def round(self) -> None:
        """One look at what is wanted and at how it is, and one step towards it."""
        if not self._begun:
            await self._begin()
        await self._look()
        await self._bring()
        await self._hold()
        states = await self._states()
        await self._move({name for name, state in states.items() if state.state == "ready"})
        servings = [self._serving(each, self._state(name, states.get(name))) for name, each in self._versions().items()]
        self._busy = bool(self._left or self._fetches) or any(each.state in ("pending", "loading") for each in servings)
        await self._sayings.say(servings)
        await self._exchange()

    async def _begin(self) -> None:
        """Go on from where an earlier process of this machine was."""
        await asyncio.to_thread(self._fetcher.folder.prepare)
        await self._sayings.begin()
        try:
            self._answering = await asyncio.to_thread(read_answering, self._path)
        except Invalid as error:
            _log.error("what answered before is not known", reason=error.message)
        self._held = {each.name: each for each in await self._host.published()}
        self._begun = True

    async def _look(self) -> None:
        """Read what is wanted, if any model changed since the last time."""
        async with self._database.read() as session:
            system = SystemDeployments(session)
            generation = await system.generation()
            if generation == self._generation:
                return
            wanted = await system.wanted(MAX_ANSWERING)
            answering = [version.id for model in self._answering for version in model.versions]
            self._live = await system.live(answering) | {
                each.id for model in wanted for each in model.versions.values()
            }
        self._wanted, self._generation = wanted, generation
        if len(self._versions()) >= MAX_ANSWERING:
            _log.error("one machine serves no more versions than these; the newest models wait", versions=MAX_ANSWERING)

    # Artifacts

    async def _bring(self) -> None:
        """Find the artifacts of what is wanted, and fetch those that are not here, a few at once."""
        for name, version in self._versions().items():
            if name in self._here or name in self._fetches:
                continue
            found = await asyncio.to_thread(self._find, name, version.artifact)
            if found is not None:
                self._here[name] = found
            elif len(self._fetches) < _FETCHES and self._may_try(name):
                self._fetches[name] = asyncio.create_task(self._fetch(name, version), name=f"fetching {name}")

    def _may_try(self, name: str) -> bool:
        failure = self._failed.get(name)
        return failure is None or failure[0] <= self._clock.monotonic()

    def _find(self, name: str, digest: str) -> Artifact | None:
        try:
            return self._fetcher.folder.use(digest)
        except Invalid as error:
            self._fail(name, error.message)
            return None

    async def _fetch(self, name: str, version: Version) -> None:
        try:
            self._here[name] = await self._fetched(version)
            self._failed.pop(name, None)
        except PolyforgeError as error:
            self._fail(name, error.message)
        except Exception:  # noqa: BLE001  else it would be tried again at once, and nobody told
            _log.exception("a version could not be fetched", version=name)
            self._fail(name, _BROKEN)
        finally:
            del self._fetches[name]
            self.wake()

    def _fail(self, name: str, reason: str) -> None:
        """Let a version rest, and say why."""
        self._failed[name] = (self._clock.monotonic() + _RETRY_SECONDS, reason)

    async def _fetched(self, version: Version) -> Artifact:
        """The same files as the machine had that added the version."""
        how = version.fetching or {}
        reference = SourceReference(version.pinned, how.get("sha256"), bool(how.get("trusted")))
        fetched = await self._fetcher.fetch(reference, how.get("include") or (), Progress())
        if fetched.artifact.digest != version.artifact:
            raise Invalid("its source has other content by now, and this machine has no copy of what it was")
        return fetched.artifact

    # The host

    async def _hold(self) -> None:
        """Have the host serve what is wanted and here, and what is still on its way out."""
        wanted, answering = self._published(), names_of(self._answering)
        kept = {name: each for name, each in self._held.items() if name not in wanted and self._stays(name, answering)}
        publish = {**wanted, **kept}
        for name, each in publish.items():
            if name not in self._held:
                await asyncio.to_thread(self._fetcher.folder.pin, name, each.digest)
        await self._host.publish([publish[name] for name in sorted(publish)])
        for name in self._held.keys() - publish.keys():
            self._left.pop(name, None)
            self._here.pop(name, None)
            await asyncio.to_thread(self._fetcher.folder.pin, name, None)
        self._held = publish

    def _stays(self, name: str, answering: set[str]) -> bool:
        """Whether the host is to keep what nobody wants any more: while names lead to it, and a little longer."""
        now = self._clock.monotonic()
        if name in answering:
            self._left.pop(name, None)
            return True
        return self._left.setdefault(name, now + _GRACE_SECONDS) > now

    def _published(self) -> dict[str, Published]:
        found: dict[str, Published] = {}
        for model in self._wanted:
            for number, version in model.versions.items():
                artifact = self._here.get(model.name_of(number))
                if artifact is not None:
                    found[model.name_of(number)] = _published(model, version, artifact)
        for name in found:
            self._left.pop(name, None)
        return found

    async def _states(self) -> Mapping[str, HostState]:
        """How everything does; while the host cannot say, nothing is ready."""
        try:
            return await self._host.states()
        except PolyforgeError as error:
            return dict.fromkeys(self._held, HostState("loading", error.message))

    async def _move(self, ready: set[str]) -> None:
        """Let names lead to what is ready now."""
        answering = moved(self._wanted, self._answering, ready, self._live)
        if answering != self._answering or not self._path.exists():
            await asyncio.to_thread(write_answering, self._path, answering)
            self._answering = answering

    # What is said of it

    async def _exchange(self) -> None:
        """Keep with each version what was measured here, and take what was measured elsewhere."""
        here = await asyncio.to_thread(self._tunings.read)
        for version in self._versions().values():
            known, measured = version.tuning or {}, here.get(version.artifact, {})
            told = {kind: found for kind, found in measured.items() if self._is_news(version, kind, found)}
            if told:
                async with self._database.write() as session:
                    await TuningEditor(session).add(version.id, told)
                self._measured |= {(version.id, kind): found for kind, found in told.items()}
            for kind, found in known.items():
                if kind not in measured:
                    await asyncio.to_thread(self._tunings.add, version.artifact, kind, found)

    def _is_news(self, version: Version, kind: str, found: Mapping[str, Any]) -> bool:
        """Each machine says its own once: two of a kind that measured apart would overwrite each other for ever."""
        return found not in ((version.tuning or {}).get(kind), self._measured.get((version.id, kind)))

    def _serving(self, version: Version, found: HostState) -> Serving:
        now = self._clock.now()
        return Serving(
            version_id=version.id,
            machine=self._sayings.machine,
            organization_id=version.organization_id,
            project_id=version.project_id,
            model_id=version.model_id,
            number=version.number,
            state=found.state,
            reason=found.reason,
            changed_at=now,
            seen_at=now,
        )

    def _state(self, name: str, state: HostState | None) -> HostState:
        if name not in self._held:
            failure = self._failed.get(name)
            return HostState("pending", "is being fetched") if failure is None else HostState("failed", failure[1])
        return state or HostState("loading")

    def _versions(self) -> dict[str, Version]:
        return {model.name_of(number): each for model in self._wanted for number, each in model.versions.items()}


def _published(model: WantedModel, version: Version, artifact: Artifact) -> Published:
    kind, folder = model.model, str(artifact.folder.absolute())
    return Published(kind.project_id, kind.name, version.number, folder, artifact.digest, version.configuration)
