"""A Triton repository in the model host: which engine computes which of its backends."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from polyforge.kernel.errors import Invalid
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.hints import EngineHints
from polyforge.serving.lifecycle.engine import Engine, Runs
from polyforge.serving.lifecycle.keeping import Lifecycle, Upkeep
from polyforge.serving.lifecycle.memory import folder_bytes
from polyforge.serving.repository import HostedModel, Repository
from polyforge.serving.triton.backend import ConfiguredBackend
from polyforge.serving.triton.control import Loader, ModelControl
from polyforge.serving.triton.layout import TritonModel, TritonRepository
from polyforge.wiring.engines import engine_for

MAX_THREADS: Final = 256
MAX_DIGITS: Final = 12
PROGRAM: Final = "model.py"


def triton_control(
    folder: Path, repository: Repository, loader: Loader, scratch: Path, runs: Runs | None = None
) -> ModelControl:
    """What loads the models of a Triton repository into the host; their runs are noted in `runs`."""
    noted = Runs() if runs is None else runs
    return ModelControl(
        TritonRepository(folder, tuple(ENGINES)),
        repository,
        loader,
        lambda model, version: make_engine(model, version, noted),
        backends=tuple(ENGINES),
        scratch=scratch,
    )


class TritonLoader:
    """Has the models of a Triton repository looked after as all others are; an ensemble itself takes no memory."""

    def __init__(self, lifecycle: Lifecycle, idle_seconds: float | None) -> None:
        self._lifecycle = lifecycle
        self._idle_seconds = idle_seconds

    async def load(self, model: HostedModel) -> None:
        """Load it within the memory that models may take."""
        self._lifecycle.keep(model, await asyncio.to_thread(self._upkeep, model))
        await self._lifecycle.load(model)
        if not model.ready:
            await self._lifecycle.unload(model)

    async def unload(self, model: HostedModel) -> None:
        """Let go of it."""
        await self._lifecycle.unload(model)

    def _upkeep(self, model: HostedModel) -> Upkeep:
        if not isinstance(model.backend, ConfiguredBackend):
            return Upkeep(keep_warm=True)
        size = folder_bytes(model.backend.model.folder / model.version)
        return Upkeep(size=size, idle_seconds=self._idle_seconds)


def make_engine(model: TritonModel, version: int, runs: Runs) -> ModelBackend:
    """The engine of one version; Invalid when a parameter of its configuration makes no sense.

    Engines are found by name, so that a host without a repository does not carry their libraries.
    """
    name, settings_of = ENGINES[model.config.backend]
    hints = EngineHints(backend=name, settings=settings_of(model))
    return Engine(model.name, lambda: engine_for(model.folder / str(version), hints, model.name), runs)


def _onnx(model: TritonModel) -> dict[str, Any]:
    config = model.config
    threads = _whole(config.settings, "intra_op_thread_count")
    return {
        "file": config.default_model_filename,
        "threads": min(max(1, threads), MAX_THREADS),
        "arena": _whole(config.settings, "enable_mem_arena") > 0,
    }


def _python(model: TritonModel) -> dict[str, Any]:
    config = model.config
    if config.default_model_filename != PROGRAM:
        raise Invalid(f"a model in Python lies in {PROGRAM}", param="default_model_filename")
    bounds = {name: _whole(config.settings, name) for name in ("memory_bytes", "run_seconds", "start_seconds")}
    return {"instances": config.instances or 1, **{name: bound for name, bound in bounds.items() if bound}}


def _whole(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise Invalid(f"parameters: '{name}' must be a whole number, not '{text[:40]}'", param="parameters")
    return int(text)


ENGINES: Final[Mapping[str, tuple[str, Callable[[TritonModel], dict[str, Any]]]]] = {
    "onnxruntime": ("onnx", _onnx),
    "python": ("python", _python),
}
"""Triton's backends, the adapters that compute them, and their settings."""
