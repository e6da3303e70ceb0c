"""Which engine computes a folder: the one that is named, or the one that its files and its task call for.

Adapters are found by name, so that a process imports only the libraries of the engines that it runs. A new one is a
line in DETECTED.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from pydantic import BaseModel

from polyforge.adapters.model_backends.engine.children import ProcessSettings
from polyforge.adapters.model_backends.isolated import Isolated
from polyforge.kernel.errors import Invalid, SettingsError
from polyforge.kernel.tasks import Task
from polyforge.ports.model_backend import ModelBackend
from polyforge.ports.secret_source import SecretSource, SecretUser
from polyforge.serving.hints import EngineHints
from polyforge.wiring.adapters import checked, load, settings_class

PORT: Final = "model_backends"
ISOLATED_ENGINE: Final = "polyforge.wiring.isolated_engine"
OWN_PROCESSES: Final = frozenset({"python"})
"""Engines that are processes of their own anyway."""
APART: Final = frozenset({"skops"})
"""Engines whose files nobody can check to the last index, and with libraries that the host does not need: each of their
models has processes of its own, asked for or not."""
MAX_ENTRIES: Final = 10_000
"""Of a folder; what is beyond is not looked at."""
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
HEAD_BYTES: Final = 4096
GRAPH_PLACES: Final = ("", "onnx/", "model.onnx/")
"""Where a graph may lie in a folder, as the engine for graphs looks for it."""


class _Config(msgspec.Struct):
    """What config.json says of the kind of model."""

    model_type: str = ""
    architectures: list[str] | None = None
    id2label: dict[str, str] | None = None
    sbert_ce_default_activation_function: str | None = None

    def is_for(self, kind: str) -> bool:
        return any(name.endswith(f"For{kind}") for name in self.architectures or ())


class Layout(msgspec.Struct, frozen=True):
    """What there is in a folder: paths of files, up to one folder deep, and what config.json says."""

    folder: Path
    files: frozenset[str]
    config: _Config

    @property
    def has_graph(self) -> bool:
        """Whether there is a graph where the engine for graphs looks."""
        return any(self.ending(".onnx", place) for place in GRAPH_PLACES)

    @property
    def has_text_graph(self) -> bool:
        """Whether there is a graph with a tokenizer beside it."""
        return self.has_graph and "tokenizer.json" in self.files

    def ending(self, suffix: str, place: str = "") -> list[str]:
        """Names of files with this ending directly in a folder of the artifact."""
        names = (path.removeprefix(place) for path in self.files if path.startswith(place))
        return sorted(name for name in names if "/" not in name and name.endswith(suffix))

    def head(self, name: str) -> bytes:
        """How a file begins; nothing when it cannot be read."""
        try:
            with (self.folder / name).open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:
            return b""


def engine_for(folder: Path, hints: EngineHints, model: str = "", secrets: SecretSource | None = None) -> ModelBackend:
    """The engine of a folder, not loaded; Invalid when there is none for it, or when its settings are wrong.

    Imports the engine's library, which may take a second: not for an event loop. `model` is what the log calls it;
    `secrets` is where its settings may ask for `secret:name`.
    """
    name = hints.backend or detect(folder, hints.task)
    if name in OWN_PROCESSES or not (hints.isolated or name in APART):
        return engine_here(folder, hints, model, secrets)
    try:
        return _isolated(folder, msgspec.structs.replace(hints, backend=name), model)
    except SettingsError as error:
        raise Invalid(error.message, param="backend") from error


def engine_here(folder: Path, hints: EngineHints, model: str = "", secrets: SecretSource | None = None) -> ModelBackend:
    """As `engine_for`, in this process unless the engine is processes of its own."""
    name = hints.backend or detect(folder, hints.task)
    try:
        adapter = _adapter(name)
        kind = settings_class(adapter)
        # A model of another server has no folder here.
        place = {"folder": folder} if "folder" in kind.model_fields else {}
        settings = checked(kind, "settings", {**place, **_shared(kind, hints, model), **hints.settings})
    except SettingsError as error:
        raise Invalid(error.message.replace("backend.use", "backend"), param="backend") from error
    made = adapter(settings)
    if secrets is not None and isinstance(made, SecretUser):
        made.use_secrets(secrets)
    return made


def _isolated(folder: Path, hints: EngineHints, model: str) -> ModelBackend:
    """The engine in processes of its own; settings that are about processes are theirs, all others the engine's.

    The engine's settings are checked there, since that takes its library.
    """
    about = {name: value for name, value in hints.settings.items() if name in ProcessSettings.model_fields}
    own = {name: value for name, value in hints.settings.items() if name not in about}
    given = {"folder": folder, **_shared(ProcessSettings, hints, model), **about}
    settings = cast(ProcessSettings, checked(ProcessSettings, "settings", given))
    inner = msgspec.structs.replace(hints, settings=own, instances=1, isolated=False)
    return Isolated(settings, ISOLATED_ENGINE, {"folder": str(folder.absolute()), "hints": msgspec.to_builtins(inner)})


@cache
def _adapter(name: str) -> Callable[[BaseModel], ModelBackend]:
    """An engine's class, looked for once: the search for plug-ins reads the lists of all installed packages."""
    return load(PORT, "backend", name)


def detect(folder: Path, task: Task | None) -> str:
    """The name of the adapter that computes a folder's files for a task; Invalid says what was looked for."""
    layout = read_layout(folder)
    for name, _, fits in DETECTED:
        if fits(layout, task):
            return name
    looked_for = "; ".join(what for _, what, _ in DETECTED)
    found = ", ".join(sorted(layout.files)[:8]) or "nothing"
    raise Invalid(
        f"nothing here tells how to compute it. Looked for: {looked_for}. Found: {found}. Name a `backend`",
        param="backend",
    )


def read_layout(folder: Path) -> Layout:
    """What there is in a folder; Invalid when it cannot be read."""
    try:
        files = frozenset(_paths(folder))
        content = b"{}"
        if "config.json" in files:
            with (folder / "config.json").open("rb") as file:
                content = file.read(MAX_CONFIG_BYTES)
    except OSError as error:
        raise Invalid(f"the model's folder cannot be read: {error.strerror}") from error
    try:
        config = msgspec.json.decode(content, type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"config.json: {error}") from error
    return Layout(folder, files, config)


def _paths(folder: Path) -> list[str]:
    paths: list[str] = []
    for entry in sorted(folder.iterdir())[:MAX_ENTRIES]:
        if entry.is_dir():
            paths += [
                f"{entry.name}/{inner.name}" for inner in sorted(entry.iterdir())[:MAX_ENTRIES] if inner.is_file()
            ]
        elif entry.is_file():
            paths.append(entry.name)
    return paths


def _shared(settings: type[BaseModel], hints: EngineHints, model: str) -> dict[str, Any]:
    """Those of the settings common to all models that this engine knows."""
    common: Mapping[str, int | str | None] = {
        "name": model or None,
        "threads": hints.threads,
        "batch_rows": hints.batch_rows,
        "instances": hints.instances,
    }
    return {name: value for name, value in common.items() if value is not None and name in settings.model_fields}


# What tells one kind of model from another


def _is_static(layout: Layout, task: Task | None) -> bool:
    del task
    return layout.config.model_type == "model2vec" and "model.safetensors" in layout.files


def _is_token_classifier(layout: Layout, task: Task | None) -> bool:
    return layout.has_text_graph and task in (None, "classification") and layout.config.is_for("TokenClassification")


def _is_cross_encoder(layout: Layout, task: Task | None) -> bool:
    if not layout.has_text_graph or task not in (None, "rerank"):
        return False
    config = layout.config
    one_class = config.is_for("SequenceClassification") and len(config.id2label or ()) == 1
    return task == "rerank" or one_class or config.sbert_ce_default_activation_function is not None


def _is_text_classifier(layout: Layout, task: Task | None) -> bool:
    if not layout.has_text_graph or task not in (None, "classification", "moderation", "language_detection"):
        return False
    return task is not None or layout.config.is_for("SequenceClassification")


def _is_encoder(layout: Layout, task: Task | None) -> bool:
    return layout.has_text_graph and task in (None, "embedding")


def _is_python(layout: Layout, task: Task | None) -> bool:
    del task
    return "model.py" in layout.files


def _is_ctranslate2(layout: Layout, task: Task | None) -> bool:
    del task
    return "model.bin" in layout.files


def _is_graph(layout: Layout, task: Task | None) -> bool:
    del task
    return layout.has_graph


def _is_skops(layout: Layout, task: Task | None) -> bool:
    del task
    return bool(layout.ending(".skops"))


def _is_lightgbm(layout: Layout, task: Task | None) -> bool:
    del task
    return any(layout.head(name).startswith(b"tree\n") for name in layout.ending(".txt"))


def _is_xgboost(layout: Layout, task: Task | None) -> bool:
    del task
    return bool(layout.ending(".ubj")) or any(b'"learner"' in layout.head(name) for name in layout.ending(".json"))


DETECTED: Final[tuple[tuple[str, str, Callable[[Layout, Task | None], bool]], ...]] = (
    ("python", "model.py with a class Model", _is_python),
    ("static_embedding", "config.json of model2vec with model.safetensors", _is_static),
    ("token_classifier", "a graph with tokenizer.json and labels for tokens", _is_token_classifier),
    ("cross_encoder", "a graph with tokenizer.json and one score", _is_cross_encoder),
    ("text_classifier", "a graph with tokenizer.json and labels", _is_text_classifier),
    ("text_encoder", "a graph with tokenizer.json", _is_encoder),
    ("ctranslate2", "model.bin of CTranslate2", _is_ctranslate2),
    ("onnx", "*.onnx", _is_graph),
    ("skops", "*.skops", _is_skops),
    ("lightgbm", "a booster of LightGBM in .txt", _is_lightgbm),
    ("xgboost", "a booster of XGBoost in .json or .ubj", _is_xgboost),
)
"""Names of adapters, what marks their models, and how it is told; the first that fits is taken."""
