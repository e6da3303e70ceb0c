"""Measures models while nobody asks anything, one after the other, and lets go at once when somebody does."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from typing import Final

from polyforge.kernel.errors import Cancelled
from polyforge.ports.model_backend import ModelBackend
from polyforge.serving.lifecycle.engine import Runs
from polyforge.serving.lifecycle.tunings import Tunings
from polyforge.serving.plan import Plan
from polyforge.serving.repository import HostedModel
from polyforge.serving.scheduler import Scheduler
from polyforge.serving.sources import ModelSource
from polyforge.telemetry.logs import get_logger

IDLE_SECONDS: Final = 15.0
"""Without a request, until the host is taken to have nothing to do."""
QUIET_LOAD: Final = 0.5
"""Of each core, by the machine's load of the last minute: beyond it measuring tells of what else runs there."""
LOOK_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 0.05

_log = get_logger(__name__)

Measure = Callable[[ModelBackend, Callable[[], bool]], Plan]
"""The best plan of a backend, found in a thread; Cancelled when the function says so."""


def machine_is_busy() -> bool:
    """Whether other programs, or we until a moment ago, keep this machine busy."""
    return os.getloadavg()[0] > QUIET_LOAD * (os.cpu_count() or 1)


class Tuner:
    """Measures every model of `models` that has a source and was not measured on this machine."""

    def __init__(
        self,
        models: Callable[[], Iterable[HostedModel]],
        source_of: Callable[[HostedModel], ModelSource | None],
        tunings: Tunings,
        scheduler: Scheduler,
        runs: Runs,
        measure: Measure,
        machine_is_busy: Callable[[], bool],
    ) -> None:
        self._models = models
        self._source_of = source_of
        self._tunings = tunings
        self._scheduler = scheduler
        self._runs = runs
        self._measure = measure
        self._machine_is_busy = machine_is_busy
        self._known: set[ModelBackend] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            model = self._next() if self._idle() else None
            if model is not None and not self._machine_is_busy():
                await self._tune(model)

    def _idle(self) -> bool:
        since = asyncio.get_running_loop().time() - IDLE_SECONDS
        return not len(self._runs) and all(model.used < since for model in self._models())

    def _next(self) -> HostedModel | None:
        ready = (model for model in self._models() if model.ready and model.resident)
        return next((model for model in ready if model.backend not in self._known and self._source_of(model)), None)

    async def _tune(self, model: HostedModel) -> None:
        source = self._source_of(model)
        if source is None:
            return
        if await asyncio.to_thread(self._tunings.find, source) is not None:
            self._known.add(model.backend)
            return
        asked = threading.Event()
        # It counts as a run: whoever wants to unload the model waits for its end.
        ended = self._scheduler.occupy(model)
        watching = asyncio.create_task(self._watch(model, asked))
        try:
            plan = await asyncio.to_thread(self._measure, model.backend, asked.is_set)
        except Cancelled:
            return
        except Exception:  # noqa: BLE001  a model that cannot be measured answers all the same
            _log.exception("a model cannot be measured", model=model.name, version=model.version)
        else:
            await asyncio.to_thread(self._tunings.keep, source, plan)
            await asyncio.to_thread(model.tune, plan)
            _log.info("a model was measured", model=model.name, version=model.version, plan=str(model.plan))
        finally:
            asked.set()
            watching.cancel()
            ended()
        self._known.add(model.backend)

    async def _watch(self, measured: HostedModel, asked: threading.Event) -> None:
        """Tell when somebody asks any model, or wants this one to go."""
        began = asyncio.get_running_loop().time()
        while measured.resident and measured.ready and all(model.used < began for model in self._models()):  # noqa: ASYNC110
            await asyncio.sleep(WATCH_SECONDS)
        asked.set()
