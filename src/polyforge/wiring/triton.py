"""A Triton repository in the model host: which engine computes which of its backends."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from polyforge.kernel.errors import Invalid
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.hints import EngineHints
from polyforge.serving.repository import Repository
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.triton.control import ModelControl
from polyforge.serving.triton.layout import TritonModel, TritonRepository
from polyforge.wiring.engines import engine_for

MAX_THREADS: Final = 256
MAX_DIGITS: Final = 9


def triton_control(folder: Path, repository: Repository, scheduler: Scheduler, scratch: Path) -> ModelControl:
    """What loads the models of a Triton repository into the host."""
    return ModelControl(
        TritonRepository(folder, tuple(ENGINES)),
        repository,
        scheduler,
        make_engine,
        backends=tuple(ENGINES),
        scratch=scratch,
    )


def make_engine(model: TritonModel, version: int) -> ModelBackend:
    """The engine of one version; Invalid when a parameter of its configuration makes no sense.

    Engines are found by name, so that a host without a repository does not carry their libraries.
    """
    name, settings_of = ENGINES[model.config.backend]
    return engine_for(model.folder / str(version), EngineHints(backend=name, settings=settings_of(model)))


def _onnx(model: TritonModel) -> dict[str, Any]:
    config = model.config
    threads = _whole(config.settings, "intra_op_thread_count")
    return {
        "file": config.default_model_filename,
        "threads": min(max(1, threads), MAX_THREADS),
        "arena": _whole(config.settings, "enable_mem_arena") > 0,
    }


def _whole(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise Invalid(f"parameters: '{name}' must be a whole number, not '{text[:40]}'", param="parameters")
    return int(text)


ENGINES: Final[Mapping[str, tuple[str, Callable[[TritonModel], dict[str, Any]]]]] = {"onnxruntime": ("onnx", _onnx)}
"""Triton's backends, the adapters that compute them, and their settings."""
