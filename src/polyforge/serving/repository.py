"""The host's models: one backend each, its state, and why it does not answer when it does not."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, cast

from polyforge.kernel.errors import ModelNotFound, PolyforgeError, Unavailable
from polyforge.ports.model_backend import ModelBackend, ProcessBackend, Signature, SpreadingBackend
from polyforge.serving.plan import Plan, default_plan
from polyforge.serving.statistics import ModelStatistics
from polyforge.telemetry.logs import get_logger

_log = get_logger(__name__)

VERSION = "1"
RETRY_SECONDS = 1.0
BEING_RESTARTED = "its processes have ended and are being started again"

State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
"""Named as in Triton's repository extension."""


class HostedModel:
    """One version of a model: `state` says whether `backend` may be called, `reason` why not, `plan` how it is run.

    `shape` makes the plan out of the default one, or of the measured one, for a host of `cores`.
    """

    def __init__(
        self,
        name: str,
        backend: ModelBackend,
        version: str = VERSION,
        *,
        shape: Callable[[Plan], Plan] = lambda plan: plan,
        cores: int = 0,
        lacks: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.name = name
        self.version = version
        self.backend = backend
        self.state: State = "LOADING"
        self.reason = ""
        self.may_recover = False
        """Whether what kept it from being loaded may pass by itself, such as another server that is down."""
        self.resident = True
        self.used = 0.0
        """When it was last asked, by the event loop's clock."""
        self.successor: HostedModel | None = None
        """What took its place."""
        self.statistics = ModelStatistics()
        self.plan = Plan()
        self._measured: Plan | None = None
        self._shape = shape
        self._cores = cores
        self._lacks = lacks
        self._signature: Signature | None = None

    @property
    def ready(self) -> bool:
        """Whether requests are taken; they are refused for a while when all its processes have ended."""
        return self.state == "READY"

    @property
    def back_in(self) -> float | None:
        """Seconds until it is expected to answer, while all the processes that compute it are gone; else None."""
        return self.backend.back_in if self.ready and isinstance(self.backend, ProcessBackend) else None

    @property
    def answers(self) -> bool:
        """Whether a request would be answered now."""
        return self.ready and self.back_in is None and self._lacks() is None

    @property
    def shown(self) -> tuple[State, str]:
        """Its state and the reason for it, as callers are to see them."""
        if self.back_in is not None:
            return "LOADING", BEING_RESTARTED
        lacking = self._lacks() if self.ready else None
        return (self.state, self.reason) if lacking is None else ("UNAVAILABLE", lacking)

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
        self.may_recover = False
        try:
            self.backend.load()
            self.backend.warm_up()
            self._signature = self.backend.signature
            self.plan = self._planned(self._signature)
            self._spread(self._signature)
        except PolyforgeError as error:
            self.state, self.reason = "UNAVAILABLE", error.message
            self.may_recover = error.retryable
        except BaseException as error:  # a panic in a native library is no Exception
            self.state, self.reason = (
                "UNAVAILABLE",
                "an unexpected error; the log has it",
            )
            raise RuntimeError(f"model '{self.name}' broke while loading") from error
        else:
            self.state = "READY"

    def recall(self, signature: Signature) -> None:
        """Be ready as it was when it was last loaded; its first request has to load it."""
        self._signature = signature
        self.state, self.reason = "READY", ""

    def tune(self, measured: Plan) -> None:
        """Run it from now on, and after every load, as measuring has found best; what its settings say stays."""
        self._measured = measured
        if self._signature is not None:
            self.plan = self._planned(self._signature)
            self._spread(self._signature)

    def _spread(self, signature: Signature) -> None:
        if not signature.spreads:
            return
        try:
            # What else runs, only the engine's keeper knows.
            cast(SpreadingBackend, self.backend).spread(self.plan.threads_alone, lambda: True)
        except PolyforgeError as error:
            _log.warning("runs of a model have one thread each", model=self.name, reason=error.message)

    def _planned(self, signature: Signature) -> Plan:
        plan = default_plan(signature, self._cores)
        return self._shape(plan if self._measured is None else plan.measured(self._measured))


class Repository:
    """Every version of every model of this host. One that cannot be loaded stays listed, and the others are served."""

    def __init__(self, models: Iterable[HostedModel]) -> None:
        self._models: dict[str, dict[str, HostedModel]] = {}
        for model in models:
            self.put(model)

    def __iter__(self) -> Iterator[HostedModel]:
        return iter([model for versions in self._models.values() for model in versions.values()])

    @property
    def settled(self) -> bool:
        """Whether every model has been loaded, or has failed to."""
        return all(model.state != "LOADING" for model in self)

    def find(self, name: str, version: str | None = None) -> HostedModel:
        """A version of a model, whatever its state, by default the newest that answers; else ModelNotFound."""
        versions = self._models.get(name)
        if not versions:
            raise ModelNotFound(f"Request for unknown model: '{name}' is not found", param="model")
        if version is None:
            return max(versions.values(), key=lambda model: (model.ready, int(model.version)))
        model = versions.get(version)
        if model is None:
            raise ModelNotFound(
                f"Request for unknown model: '{name}' version {version} is not found",
                param="model",
            )
        return model

    def versions(self, name: str) -> list[HostedModel]:
        """Every version of a model, oldest first; none when there is no such model."""
        return sorted(self._models.get(name, {}).values(), key=lambda model: int(model.version))

    def put(self, model: HostedModel) -> HostedModel | None:
        """Serve a version from now on; the one that it takes the place of is no longer served, and is given back."""
        versions = self._models.setdefault(model.name, {})
        replaced = versions.get(model.version)
        if replaced is not None and replaced is not model:
            model.statistics, model.used = replaced.statistics, max(model.used, replaced.used)
            replaced.successor = model
        versions[model.version] = model
        return replaced

    def remove(self, model: HostedModel) -> None:
        """List a version no longer."""
        versions = self._models.get(model.name, {})
        if versions.get(model.version) is model:
            del versions[model.version]

    def close(self) -> None:
        """Let go of every model; nothing may be running."""
        for model in self:
            if model.ready:
                model.state, model.reason = "UNAVAILABLE", "the host is stopping"
                if model.resident:
                    model.backend.close()
