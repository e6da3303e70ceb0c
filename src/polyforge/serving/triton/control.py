"""Loading and unloading models of a Triton repository while the host answers (the model repository extension).

A new version answers before the one that it takes the place of goes, and that one answers what it was asked before it
goes; so no request fails, and the host stays ready.
"""

import asyncio
import shutil
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, Protocol

from polyforge.dialects import oip, triton_config
from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError
from polyforge.ports.model_backend import ModelBackend, Signature
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.triton.backend import ConfiguredBackend
from polyforge.serving.triton.ensemble import Ensemble
from polyforge.serving.triton.layout import TritonModel, TritonRepository, check_name
from polyforge.serving.triton.planning import planned
from polyforge.telemetry.logs import get_logger

UNLOADED = "unloaded"
MAX_DEPTH = 8
"""How deep ensembles may be made of ensembles."""
MAX_FILES = 256
MAX_FAILURES = 1_000
"""Names of which the host knows why they could not be loaded: any name may be asked for."""
PROGRAMS = frozenset({"python"})
"""Backends whose files are programs: they lie in the repository, and do not come with a request."""

_log = get_logger(__name__)

MakeEngine = Callable[[TritonModel, int], ModelBackend]
"""The engine of a version; Invalid when its settings are wrong."""


class Loader(Protocol):
    """What brings a version into memory, and lets go of it."""

    async def load(self, model: HostedModel) -> None:
        """Afterwards it is ready, or unavailable with a reason; RuntimeError is what nobody foresaw."""
        ...

    async def unload(self, model: HostedModel) -> None:
        """Once it has answered what it was asked; it takes no new requests already."""
        ...


class ModelControl:
    """What is loaded of a repository. One load or unload at a time; requests go on meanwhile.

    `scratch` is where models lie whose files come with the request to load them. Without `source` there are no others.
    """

    def __init__(
        self,
        source: TritonRepository | None,
        repository: Repository,
        loader: Loader,
        make_engine: MakeEngine,
        *,
        backends: tuple[str, ...],
        scratch: Path,
    ) -> None:
        self._source = source
        self._repository = repository
        self._loader = loader
        self._make_engine = make_engine
        self._backends = backends
        self._scratch = scratch
        self.starting = False
        """Whether the models that the host begins with are being loaded."""
        self._busy = asyncio.Lock()
        self._changing: asyncio.Task[None] | None = None
        self._loaded: dict[str, TritonModel] = {}
        self._folders: dict[str, Path] = {}
        self._failures: dict[str, str] = {}

    def names(self) -> list[str]:
        """Every model that is of the repository, or was loaded from files that came with a request."""
        return sorted({*self._loaded, *(self._source.names() if self._source else ())})

    def serves(self, name: str) -> bool:
        """Whether a model answers that was loaded from its folder in the repository."""
        ours = name in self._loaded and name not in self._folders
        return ours and any(version.ready for version in self._repository.versions(name))

    @property
    def failing(self) -> frozenset[str]:
        """Names whose last load found nothing that can be served, of the repository or not."""
        return frozenset(self._failures)

    def ensembles_of(self, names: Collection[str]) -> list[str]:
        """The served ensembles of the repository that are made of any of these models."""
        return [
            ensemble.name
            for ensemble in self._loaded.values()
            if self.serves(ensemble.name)
            and ensemble.config.ensemble_scheduling is not None
            and any(step.model_name in names for step in ensemble.config.ensemble_scheduling.step)
        ]

    def index(self, *, only_ready: bool = False) -> list[oip.IndexEntry]:
        """Every model, loaded or not: those that were never loaded have a name alone, or the reason why."""
        known = [
            oip.IndexEntry(model.name, model.version, *model.shown)
            for model in self._repository
            if not only_ready or model.answers
        ]
        if only_ready:
            return known
        names = {entry.name for entry in known}
        others = sorted({*self._failures, *(self._source.names() if self._source else ())} - names)
        return known + [self._unloaded(name) for name in others]

    async def load_all(self, starting: Callable[[], None] = lambda: None) -> None:
        """Load every model of the repository, ensembles with what they are made of; what fails is listed and logged.

        `starting` is called before each. A repository that cannot be read is logged, and the host serves without it.
        """
        self.starting = True
        try:
            for name in [] if self._source is None else await asyncio.to_thread(self._source.names):
                starting()
                await self._load_one(name)
        except Invalid as error:
            _log.error("the model repository is not served", reason=error.message)
        finally:
            self.starting = False

    async def _load_one(self, name: str) -> None:
        if name in self._loaded:
            return
        try:
            await self.load(name)
        except PolyforgeError as error:
            _log.error("a model is not served", model=name, reason=error.message)

    async def load(self, name: str, parameters: Mapping[str, object] | None = None) -> None:
        """Load a model, or load it anew; `parameters` are those of the extension: `config`, and `file:<path>` as bytes.

        Invalid when no version can be loaded; what was loaded before goes on answering then.
        """
        check_name(name)
        override, files = _parameters(parameters or {})
        if files:
            await self._change(lambda: self._load_files(name, override, files))
        else:
            await self._change(lambda: self._load(name, override, ()))

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Take no more requests for a model, answer those that it has, and let go of it.

        `dependents` are the models that an ensemble is made of. Invalid for one that is not of the repository.
        """
        await self._change(lambda: self._unload(name, dependents, 0))

    async def _change(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it in turn. Once begun it goes on to its end, also when whoever asked for it has hung up."""
        await self._busy.acquire()
        self._changing = asyncio.create_task(self._in_turn(work), name="a change of the model repository")
        await asyncio.shield(self._changing)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            self._busy.release()

    async def _load_files(self, name: str, override: Values | None, files: Mapping[str, bytes]) -> None:
        if override is None:
            raise Invalid(f"failed to load '{name}': files come with a 'config' parameter", param="parameters.config")
        folder = await asyncio.to_thread(_write_files, self._scratch, name, files)
        try:
            await self._load(name, override, (), TritonRepository(folder, self._backends))
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        self._folders[name] = folder

    async def _load(
        self, name: str, override: Values | None, within: tuple[str, ...], source: TritonRepository | None = None
    ) -> None:
        source = source or self._source
        if source is None:
            raise ModelNotFound(f"failed to load '{name}', there is no model repository", param="model")
        if self._repository.versions(name) and name not in self._loaded:
            raise Invalid(f"failed to load '{name}': a model of this name is served that is not of the repository")
        try:
            model = await asyncio.to_thread(source.read, name, override)
            if source is not self._source and model.config.backend in PROGRAMS:
                raise Invalid(f"failed to load '{name}': its files are a program, which is not taken from requests")
            if model.is_ensemble:
                await self._load_composing(model, (*within, name))
            fresh = [self._hosted(model, version) for version in model.versions]
        except PolyforgeError as error:
            self._fail(name, error.message)
            raise
        self._failures.pop(name, None)
        await self._serve(model, fresh)

    def _fail(self, name: str, reason: str) -> None:
        """Keep in mind why a model could not be loaded, and forget that of the name that was asked for longest ago."""
        self._failures.pop(name, None)
        self._failures[name] = reason
        if len(self._failures) > MAX_FAILURES:
            del self._failures[next(iter(self._failures))]

    async def _load_composing(self, model: TritonModel, within: tuple[str, ...]) -> None:
        scheduling = model.config.ensemble_scheduling
        for step in scheduling.step if scheduling else ():
            if step.model_name in within or len(within) > MAX_DEPTH:
                raise Invalid(f"ensemble '{model.name}' is made of itself: {', '.join((*within, step.model_name))}")
            if not any(version.ready for version in self._repository.versions(step.model_name)):
                await self._load(step.model_name, None, within)

    async def _serve(self, model: TritonModel, fresh: list[HostedModel]) -> None:
        """Load every version, then let them take the places of what is served under this name."""
        for version in fresh:
            await self._load_version(version)
        failed = [version for version in fresh if not version.ready]
        before = self._repository.versions(model.name)
        if len(failed) == len(fresh) and any(version.ready for version in before):
            raise Invalid(f"failed to load '{model.name}', no version is available: {failed[0].reason}")
        replaced = [old for version in fresh if (old := self._repository.put(version))]
        gone = [old for old in before if old not in replaced]
        folder = self._folders.pop(model.name, None)
        self._loaded[model.name] = model
        for old in (*replaced, *gone):
            await self._let_go(old)
        for old in gone:
            self._repository.remove(old)
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if len(failed) == len(fresh):
            raise Invalid(f"failed to load '{model.name}', no version is available: {failed[0].reason}")

    def _hosted(self, model: TritonModel, version: int) -> HostedModel:
        if model.is_ensemble:
            return HostedModel(
                model.name,
                Ensemble(model, self._signature),
                str(version),
                shape=partial(planned, model.config),
                lacks=partial(self._lacking, model),
            )
        backend = ConfiguredBackend(model, self._make_engine(model, version))
        return HostedModel(model.name, backend, str(version), shape=backend.shaped)

    def _lacking(self, ensemble: TritonModel) -> str | None:
        """Which model that an ensemble is made of does not answer now, in words."""
        for step in ensemble.config.ensemble_scheduling.step if ensemble.config.ensemble_scheduling else ():
            versions = self._repository.versions(step.model_name)
            if not any(each.answers for each in versions if step.version in (None, each.version)):
                return f"'{step.model_name}', which it is made of, is not ready"
        return None

    async def _load_version(self, version: HostedModel) -> None:
        try:
            await self._loader.load(version)
        except RuntimeError:
            _log.exception("a model broke while loading", model=version.name, version=version.version)
        if not version.ready:
            await asyncio.to_thread(version.backend.close)

    def _signature(self, name: str, version: str | None) -> Signature:
        return self._repository.find(name, version).signature

    def _unloaded(self, name: str) -> oip.IndexEntry:
        reason = self._failures.get(name, "")
        return oip.IndexEntry(name, state="UNAVAILABLE" if reason else "", reason=reason)

    async def _unload(self, name: str, dependents: bool, depth: int) -> None:
        model = self._loaded.get(name)
        if model is None:
            self._repository.find(name)
            raise Invalid(f"failed to unload '{name}': it is not of the repository", param="model")
        for version in self._repository.versions(name):
            await self._let_go(version)
        folder = self._folders.pop(name, None)
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        scheduling = model.config.ensemble_scheduling
        for step in scheduling.step if scheduling and dependents and depth < MAX_DEPTH else ():
            if step.model_name in self._loaded:
                await self._unload(step.model_name, dependents, depth + 1)

    async def _let_go(self, version: HostedModel) -> None:
        was_ready = version.ready
        version.state, version.reason = "UNLOADING", "unloading"
        if was_ready:
            await self._loader.unload(version)
        version.state, version.reason = "UNAVAILABLE", UNLOADED


def _parameters(parameters: Mapping[str, object]) -> tuple[Values | None, dict[str, bytes]]:
    """The configuration and the files that come with a request to load a model."""
    override: Values | None = None
    files: dict[str, bytes] = {}
    for name, value in parameters.items():
        if name == "config" and isinstance(value, str):
            override = triton_config.read_json(value)
        elif name.startswith("file:") and isinstance(value, bytes):
            files[name.removeprefix("file:")] = value
        else:
            raise Invalid(f"unrecognized load parameter '{name}', or of a wrong type", param=f"parameters.{name}")
    return override, files


def _write_files(scratch: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """A repository of one model in a folder of its own; Invalid for paths that lead out of it."""
    if len(files) > MAX_FILES:
        raise Invalid(f"failed to load '{name}': {len(files)} files come with it; at most {MAX_FILES} are taken")
    paths = {path: PurePosixPath(path) for path in files}
    for path, parts in paths.items():
        if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
            raise Invalid(f"failed to load '{name}': '{path}' is no path in the model's folder", param="parameters")
    folder = Path(mkdtemp(dir=scratch))
    try:
        for path, content in files.items():
            file = folder / name / paths[path]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Invalid(f"failed to load '{name}': its files cannot be written: {error.strerror}") from error
    return folder
