"""The check of a model before it becomes a version: loaded and run once, in a process of its own that may break."""

import asyncio
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tasks import Task
from polyforge.ports.model_backend import ModelBackend, Signature
from polyforge.registry.artifacts.folder import Artifact
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.registry.versions.inspecting import Inspection, layout_of
from polyforge.serving.hints import EngineHints
from polyforge.wiring.engines import DETECTED, detect, engine_for
from polyforge.wiring.hosting import hints_of

RUNS_CODE: Final = frozenset({"python"})
"""Engines of models that are programs: those are for whoever runs the installation to add."""
FOR_ALL: Final = frozenset(name for name, _, _ in DETECTED) - RUNS_CODE
"""Engines that read nothing but the model's own files."""
BOUNDS: Final = frozenset({"memory_bytes", "run_seconds", "start_seconds"})
"""Settings of processes of models."""
TASKS: Final[Mapping[str, Task]] = {
    "static_embedding": "embedding",
    "text_encoder": "embedding",
    "cross_encoder": "rerank",
    "text_classifier": "classification",
    "token_classifier": "classification",
    "skops": "tabular_prediction",
    "lightgbm": "tabular_prediction",
    "xgboost": "tabular_prediction",
}
"""What models are for, by the engine that their files call for; others take tensors and give tensors."""
_MOST_OF_MEMORY: Final = 0.75


class CheckedModels:
    """Looks at artifacts by having them loaded as the host would."""

    def __init__(self, settings: ArtifactSettings) -> None:
        self._seconds = settings.check_seconds
        self._memory = settings.check_memory_bytes

    async def __call__(self, artifact: Artifact, configuration: Mapping[str, Any], *, trusted: bool) -> Inspection:
        """What the model takes and gives, and what there is to know of it; Invalid when it cannot be served here."""
        hints = hints_of(configuration)
        name = hints.backend or await asyncio.to_thread(detect, artifact.folder, hints.task)
        if not trusted:
            _check_modest(name, hints)
        engine = await asyncio.to_thread(self._engine, artifact.folder, msgspec.structs.replace(hints, backend=name))
        signature = await _Check(engine).run()
        shown: dict[str, Any] = {
            "platform": signature.platform,
            "inputs": [msgspec.to_builtins(each) for each in signature.inputs],
            "outputs": [msgspec.to_builtins(each) for each in signature.outputs],
        }
        if signature.labels:
            shown["labels"] = msgspec.to_builtins(signature.labels)
        card: dict[str, Any] = {
            "layout": layout_of(artifact.manifest),
            "backend": name,
            "notes": list(signature.notes),
            "batched": signature.batch_rows > 1,
            "task": hints.task or TASKS.get(name, "inference"),
        }
        return Inspection(shown, card)

    def _engine(self, folder: Path, hints: EngineHints) -> ModelBackend:
        """What computes it, in a process that may break, hang or eat memory."""
        bounds = {
            "memory_bytes": min(self._memory, _memory_of_machine()),
            "run_seconds": self._seconds,
            "start_seconds": self._seconds,
        }
        alone = msgspec.structs.replace(hints, isolated=True, instances=1, settings={**hints.settings, **bounds})
        return engine_for(folder, alone, "being checked")


class _Check:
    """Loads and runs an engine once, in a thread that nobody waits for at the end of this process."""

    def __init__(self, engine: ModelBackend) -> None:
        self._engine = engine
        self._done: Future[Signature] = Future()

    async def run(self) -> Signature:
        """What the model takes and gives; Invalid says why it cannot be run. Cancelled, its process is ended."""
        threading.Thread(target=self._work, name="check of a model", daemon=True).start()
        try:
            return await asyncio.wrap_future(self._done)
        except asyncio.CancelledError:
            threading.Thread(target=self._engine.close, name="end of a check", daemon=True).start()
            raise

    def _work(self) -> None:
        if not self._done.set_running_or_notify_cancel():
            return
        try:
            self._done.set_result(self._load())
        except BaseException as error:  # noqa: BLE001  whoever waits is told
            self._done.set_exception(error)

    def _load(self) -> Signature:
        try:
            self._engine.load()
            self._engine.warm_up()
            return self._engine.signature
        except PolyforgeError as error:
            raise Invalid(f"the model cannot be run: {error.message.removesuffix(_AGAIN)}") from error
        finally:
            self._engine.close()


_OPERATORS: Final = "only who may change its settings may have that"
_AGAIN: Final = "; it is being restarted"
"""What the host tells callers; here it is not."""


def _check_modest(backend: str, hints: EngineHints) -> None:
    """Nothing; Invalid for what only whoever runs the installation may have done with its machines."""
    if backend in RUNS_CODE:
        raise Invalid(f"a model in Python runs code on this machine; {_OPERATORS}", param="backend")
    if backend not in FOR_ALL:
        known = ", ".join(sorted(FOR_ALL))
        raise Invalid(
            f"backend: {backend!r} is none of those that read only the model's files: {known}", param="backend"
        )
    if bounds := sorted(BOUNDS & hints.settings.keys()):
        raise Invalid(f"options: {bounds[0]} bounds processes of this machine; {_OPERATORS}", param="options")
    cores = os.cpu_count() or 1
    if hints.isolated and (hints.instances or 1) > cores:
        raise Invalid(f"instances: more than {cores} processes; {_OPERATORS}", param="instances")


def _memory_of_machine() -> int:
    """What one model may take at the most, in bytes."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _MOST_OF_MEMORY)
