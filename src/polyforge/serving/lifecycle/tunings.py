"""What measuring found of models, kept in files: one for each content of a folder and kind of machine."""

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.registry.state_files import read_state, write_state
from polyforge.serving.lifecycle.identity import content_of, hints_of
from polyforge.serving.lifecycle.roster import shape_of
from polyforge.serving.plan import Plan
from polyforge.serving.sources import ModelSource
from polyforge.telemetry.logs import get_logger

FOLDER: Final = "tuning"
MAX_BYTES: Final = 64 * 1024
CPU_INFO: Final = Path("/proc/cpuinfo")
_CPU_NAME: Final = re.compile(rb"^model name\s*:\s*(.{1,100})$", re.MULTILINE)
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9]+")

_log = get_logger(__name__)


class Tuned(msgspec.Struct, frozen=True):
    """The measured part of a plan, and the hints that the model was run by: with others it is another model."""

    instances: int
    batch_rows: int
    batch_bytes: int
    hints: str
    threads_alone: int = 1

    @property
    def plan(self) -> Plan:
        """As a plan."""
        return Plan(
            instances=self.instances,
            batch_rows=self.batch_rows,
            batch_bytes=self.batch_bytes,
            threads_alone=self.threads_alone,
        )


class Tunings:
    """The files. `machine` tells kinds of machines apart. Everything here reads or writes files: not for a loop."""

    def __init__(self, folder: Path, machine: str) -> None:
        self._folder = folder
        self._machine = machine

    def find(self, source: ModelSource) -> Plan | None:
        """What was measured of a model; None when nothing was, or not of how it is run now."""
        try:
            found = read_state(self._path(source), Tuned, MAX_BYTES)
        except (Invalid, OSError) as error:
            _log.warning("what was measured of a model is not known", model=source.name, reason=str(error))
            return None
        return None if found is None or found.hints != hints_of(source) else found.plan

    def keep(self, source: ModelSource, plan: Plan) -> None:
        """Write down what was measured; a full disk is logged, and costs measuring again."""
        tuned = Tuned(plan.instances, plan.batch_rows, plan.batch_bytes, hints_of(source), plan.threads_alone)
        try:
            write_state(self._path(source), tuned)
        except OSError as error:
            _log.warning("what was measured of a model cannot be written", model=source.name, reason=error.strerror)

    def shape_of(self, source: ModelSource) -> Callable[[Plan], Plan]:
        """The plan of a model: the default one, what was measured, and what its settings say, the last winning."""
        settled = shape_of(source)

        def shape(plan: Plan) -> Plan:
            found = self.find(source)
            return settled(plan if found is None else plan.measured(found))

        return shape

    def _path(self, source: ModelSource) -> Path:
        return self._folder / f"{source.digest or content_of(source.folder)}-{self._machine}.json"


def machine_kind(cores: int) -> str:
    """The processor, and how many cores of it there are to use."""
    try:
        found = _CPU_NAME.search(CPU_INFO.read_bytes())
    except OSError:
        found = None
    name = found[1].decode("ascii", "ignore") if found else platform.processor()
    return _NOT_PLAIN.sub("-", f"{platform.machine()} {name} {cores}").strip("-").lower()
