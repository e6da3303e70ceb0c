"""A model written in Python: the class `Model` of model.py, always in processes of its own.

```python
class Model:
    inputs = {"x": ("FP32", [-1, 4])}     # name: datatype of the Open Inference Protocol, shape; -1 is any size
    outputs = {"y": ("FP32", [-1])}
    def load(self): ...                    # optional; once per process
    def predict(self, inputs): ...         # numpy arrays by name, both ways; or predict(self, inputs, parameters)
    def batch(self, requests): ...         # optional: several requests at once, a list of dicts to a list of dicts
    def stream(self, inputs): ...          # optional: several answers to one request, yielded one by one
```
"""

import sys
from pathlib import Path
from typing import Final

from pydantic import Field

from polyforge.adapters.model_backends.engine.arrays import DTYPES
from polyforge.adapters.model_backends.engine.children import ChildBackend, ProcessSettings
from polyforge.isolation.limits import ChildProgram
from polyforge.kernel.errors import Invalid

FILE: Final = "model.py"
_PACKAGE: Final = Path(__file__).parents[2]
_MODULE: Final = "polyforge.adapters.model_backends.engine.python_program"
_BEGIN: Final = (
    "import runpy, sys, types\n"
    "package = sys.modules['polyforge'] = types.ModuleType('polyforge')\n"
    "package.__path__ = [sys.argv[1]]\n"
    "runpy.run_module(sys.argv[2], run_name='__main__', alter_sys=True)\n"
)
"""Makes modules of this package known to any interpreter, without the libraries that lie beside the package."""


class Settings(ProcessSettings):
    """Where a Python model lies and how it is run."""

    python: Path = Field(
        default=Path(sys.executable),
        description="The interpreter, such as that of the model's own environment; it needs Python 3.11 and numpy.",
    )


class Python(ChildBackend):
    """The model of one folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        command = (str(settings.python), "-c", _BEGIN, str(_PACKAGE), _MODULE)
        folder = str(settings.folder.absolute())
        super().__init__(settings, ChildProgram(command, folder, {"folder": folder, "dtypes": DTYPES}))

    def load(self) -> None:
        """Start the processes; Invalid says what is wrong with model.py."""
        if not (self._settings.folder / FILE).is_file():
            raise Invalid(f"there is no {FILE}")
        if not self._settings.python.is_file():
            raise Invalid("python: there is no such interpreter", param="python")
        super().load()


ADAPTER = Python
