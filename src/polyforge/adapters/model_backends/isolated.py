"""Any of our engines in processes of its own: a crash of its library, a leak or a stuck run hurts no other model.

Unloading it returns every byte. Each process has the weights in its own memory.
"""

import sys
from collections.abc import Mapping
from typing import Any

from polyforge.adapters.model_backends.engine.children import ChildBackend, ProcessSettings
from polyforge.isolation.limits import ChildProgram

Settings = ProcessSettings


class Isolated(ChildBackend):
    """One model; `module` is the program that builds its engine from the arguments, and serves it."""

    def __init__(self, settings: Settings, module: str, arguments: Mapping[str, Any]) -> None:
        command = (sys.executable, "-m", module)
        super().__init__(settings, ChildProgram(command, str(settings.folder.absolute()), arguments))


ADAPTER = Isolated
