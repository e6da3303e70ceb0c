"""A Triton model repository on disk: which models and versions it holds, and what each is.

`repository/model/config.pbtxt`, `repository/model/<number>/<files>`; label files lie beside the configuration. Folders
that are no numbers, or begin with 0, are no versions. What the configuration leaves out is found in the files, as
Triton does it.
"""

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import msgspec

from polyforge.dialects import triton_config
from polyforge.dialects.protobuf_schema import Values
from polyforge.kernel.errors import Invalid, ModelNotFound
from polyforge.serving.triton import config as configs
from polyforge.serving.triton.config import ENSEMBLE, ModelConfig

CONFIG_FILE = "config.pbtxt"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""Most bytes of a configuration or a label file."""
MAX_MODELS = 10_000
MAX_NAME_BYTES = 255
"""As disks have it."""

_BACKENDS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "pytorch_libtorch": "pytorch",
    ENSEMBLE: ENSEMBLE,
}
_FILES = {
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch": "model.pt",
    "python": "model.py",
    "tensorrt": "model.plan",
}
_FOUND = {
    "model.onnx": ("onnxruntime", "onnxruntime_onnx"),
    "model.plan": ("tensorrt", "tensorrt_plan"),
    "model.graphdef": ("tensorflow", "tensorflow_graphdef"),
    "model.savedmodel": ("tensorflow", "tensorflow_savedmodel"),
    "model.pt": ("pytorch", "pytorch_libtorch"),
    "model.xml": ("openvino", ""),
    "model.py": ("python", ""),
}


class TritonModel(msgspec.Struct, frozen=True):
    """A model as the repository describes it: nothing is loaded yet. `values` is its configuration as it is shown."""

    name: str
    folder: Path
    values: Values
    config: ModelConfig
    versions: tuple[int, ...]
    labels: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def is_ensemble(self) -> bool:
        """Whether it is made of other models."""
        return self.config.ensemble_scheduling is not None

    def file(self, version: int) -> Path:
        """The file or folder that the engine reads."""
        return self.folder / str(version) / self.config.default_model_filename

    def with_values(self, values: Values) -> "TritonModel":
        """The same model with more of its configuration known; Invalid when that contradicts itself."""
        return msgspec.structs.replace(self, values=values, config=configs.read(values))


class TritonRepository:
    """The models of one folder, read whenever they are asked for, so that changes on disk are seen.

    `backends` are the engines of this host. Reading a model raises Invalid with the reason why it cannot be served.
    """

    def __init__(self, folder: Path, backends: Collection[str]) -> None:
        self._folder = folder
        self._backends = backends

    def names(self) -> list[str]:
        """Every model of the repository, whether it can be served or not; Invalid when the folder cannot be read."""
        try:
            folders = [entry.name for entry in self._folder.iterdir() if entry.is_dir()]
        except OSError as error:
            raise Invalid(f"failed to poll from model repository: {error.strerror}") from error
        if len(folders) > MAX_MODELS:
            raise Invalid(f"the model repository has {len(folders)} folders; at most {MAX_MODELS} are served")
        return sorted(name for name in folders if not name.startswith("."))

    def read(self, name: str, override: Values | None = None) -> TritonModel:
        """One model, with `override` instead of its config.pbtxt; ModelNotFound when there is no such folder."""
        check_name(name)
        folder = self._folder / name
        try:
            if not folder.is_dir():
                raise ModelNotFound(f"failed to load '{name}', failed to poll from model repository", param="model")
            return read_folder(folder, name, self._backends, override)
        except OSError as error:
            raise Invalid(
                f"failed to load '{name}': what is in its folder cannot be read: {error.strerror}", param="model"
            ) from error


def check_name(name: str) -> None:
    """Invalid for what is no name of a model's folder."""
    if not name:
        raise Invalid("Model name cannot be empty. Please enter a valid name to deploy.", param="model")
    if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise Invalid("model name must not contain path traversal characters", param="model")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise Invalid(f"a model's name has at most {MAX_NAME_BYTES} bytes", param="model")


def read_folder(folder: Path, name: str, backends: Collection[str], override: Values | None = None) -> TritonModel:
    """The model in a folder; Invalid says why it cannot be served."""
    values = dict(_read_config(folder) if override is None else override)
    if values.setdefault("name", name) != name and values["name"]:
        raise Invalid(
            f"unexpected directory name '{name}' for model '{values['name']}', directory name must equal model name",
            param="name",
        )
    values["name"] = name
    available = _versions(folder)
    _settle_backend(values, folder, available)
    config = configs.read(values)
    _check_backend(config, backends)
    versions = config.version_policy.chosen(available or ((1,) if config.ensemble_scheduling else ()))
    if not versions:
        raise Invalid(f"at least one version must be available under the version policy of model '{name}'")
    model = TritonModel(name, folder, values, config, versions, _labels(folder, config), configs.notes(values))
    for version in () if model.is_ensemble else versions:
        if not model.file(version).exists():
            raise Invalid(
                f"failed to load '{name}' version {version}: unable to find '{config.default_model_filename}'",
                param="default_model_filename",
            )
    return model


def _read_config(folder: Path) -> Values:
    path = folder / CONFIG_FILE
    if not path.exists():
        return {}
    try:
        return triton_config.read_text(_text(path))
    except Invalid as error:
        raise Invalid(f"failed to read text proto from {folder.name}/{CONFIG_FILE}: {error.message}") from error


def _versions(folder: Path) -> list[int]:
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0"))


def _settle_backend(values: Values, folder: Path, versions: Iterable[int]) -> None:
    """Fill in `backend`, `platform` and the file's name from each other, or from the files of the newest version."""
    if values.get("ensemble_scheduling") is not None:
        values["platform"] = ENSEMBLE
    platform, backend = values.get("platform", ""), values.get("backend", "")
    meant = _BACKENDS.get(platform)
    if platform and meant is None and not backend:
        raise Invalid(f"unexpected platform type '{platform}' for {values['name']}", param="platform")
    if backend and meant is not None and backend != meant:
        raise Invalid(
            f"unexpected 'platform' and 'backend' pair, got:{platform}, {backend}",
            param="backend",
        )
    backend = backend or meant or ""
    if backend == ENSEMBLE:
        return
    if not backend:
        backend, platform = _found_backend(values, folder, max(versions, default=0))
    elif backend == "onnxruntime":
        platform = "onnxruntime_onnx"
    values.update(backend=backend, platform=platform)
    values["default_model_filename"] = _plain_name(values.get("default_model_filename") or _FILES.get(backend, "model"))


def _found_backend(values: Values, folder: Path, version: int) -> tuple[str, str]:
    named = values.get("default_model_filename")
    for file, found in _FOUND.items():
        if file == named or (not named and (folder / str(version) / file).exists()):
            return found
    raise Invalid(
        f"Invalid model name: Could not determine backend for model '{values['name']}' with no backend in model "
        "configuration. Expected model name of the form 'model.<backend_name>'.",
        param="backend",
    )


def _check_backend(config: ModelConfig, backends: Collection[str]) -> None:
    ensemble = config.ensemble_scheduling is not None
    if (config.platform == ENSEMBLE) != ensemble:
        raise Invalid(f"ensemble scheduling must be set for ensemble {config.name}", param="ensemble_scheduling")
    if not ensemble and config.backend not in backends:
        raise Invalid(
            f"model '{config.name}': there is no backend '{config.backend}' here; there are "
            f"{', '.join(sorted({*backends, ENSEMBLE}))}",
            param="backend",
        )


def _plain_name(name: str) -> str:
    if name in (".", "..") or len(PurePosixPath(name).parts) != 1 or "\\" in name or "\0" in name:
        raise Invalid(f"'{name}' is no name of a file", param="default_model_filename")
    return name


def _labels(folder: Path, config: ModelConfig) -> dict[str, tuple[str, ...]]:
    labels: dict[str, tuple[str, ...]] = {}
    for output in config.outputs:
        if output.label_filename:
            text = _text(inside(folder, output.label_filename))
            labels[output.name] = tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n"))
    return labels


def inside(folder: Path, name: str) -> Path:
    """A file of a model's folder by the name that its configuration gives; Invalid when it lies elsewhere."""
    path = folder if "\0" in name else (folder / name).resolve()
    if path == folder or not path.is_relative_to(folder.resolve()):
        raise Invalid(f"'{name}' lies outside the folder of the model")
    return path


def _text(path: Path) -> str:
    return read_bytes(path).decode("utf-8", "replace")


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """What a file holds; Invalid when it cannot be read or is larger than `limit`."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise Invalid(f"cannot read {path.name}: {error.strerror}") from error
    if len(content) > limit:
        raise Invalid(f"{path.name} is larger than {limit} bytes")
    return content
