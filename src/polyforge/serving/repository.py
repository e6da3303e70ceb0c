"""The host's models: one backend each, its state, and why it does not answer when it does not."""

from collections.abc import Iterable, Iterator
from typing import Literal

from polyforge.kernel.errors import ModelNotFound, PolyforgeError, Unavailable
from polyforge.ports.model_backend import ModelBackend, Signature
from polyforge.serving.statistics import ModelStatistics

VERSION = "1"
RETRY_SECONDS = 1.0

State = Literal["LOADING", "READY", "UNAVAILABLE"]
"""Named as in Triton's repository extension."""


class HostedModel:
    """One model: `state` says whether `backend` may be called, `reason` why not."""

    def __init__(self, name: str, backend: ModelBackend) -> None:
        self.name = name
        self.version = VERSION
        self.backend = backend
        self.state: State = "LOADING"
        self.reason = ""
        self.statistics = ModelStatistics()
        self._signature: Signature | None = None

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.state == "READY"

    @property
    def signature(self) -> Signature:
        """What it takes and gives; Unavailable when it is not ready."""
        if self.state == "LOADING":
            raise Unavailable(f"model '{self.name}' is loading", retry_after=RETRY_SECONDS)
        if self._signature is None or self.state != "READY":
            raise Unavailable(f"model '{self.name}' is not ready: {self.reason}")
        return self._signature

    def load(self) -> None:
        """Load and warm up: afterwards it is ready, or unavailable with a reason. RuntimeError: nobody foresaw it."""
        try:
            self.backend.load()
            self.backend.warm_up()
            self._signature = self.backend.signature
        except PolyforgeError as error:
            self.state, self.reason = "UNAVAILABLE", error.message
        except BaseException as error:  # a panic in a native library is no Exception
            self.state, self.reason = (
                "UNAVAILABLE",
                "an unexpected error; the log has it",
            )
            raise RuntimeError(f"model '{self.name}' broke while loading") from error
        else:
            self.state = "READY"


class Repository:
    """Every model of this host by name. A model that cannot be loaded stays listed, and the others are served."""

    def __init__(self, models: Iterable[HostedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __iter__(self) -> Iterator[HostedModel]:
        return iter(self._models.values())

    @property
    def settled(self) -> bool:
        """Whether every model has been loaded, or has failed to."""
        return all(model.state != "LOADING" for model in self)

    def find(self, name: str, version: str | None = None) -> HostedModel:
        """The model under a name, whatever its state; ModelNotFound in Triton's words."""
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(f"Request for unknown model: '{name}' is not found", param="model")
        if version not in (None, model.version):
            raise ModelNotFound(
                f"Request for unknown model: '{name}' version {version} is not found",
                param="model",
            )
        return model

    def close(self) -> None:
        """Let go of every model; nothing may be running."""
        for model in self:
            if model.ready:
                model.state, model.reason = "UNAVAILABLE", "the host is stopping"
                model.backend.close()
