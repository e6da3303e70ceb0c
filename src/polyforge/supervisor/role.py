"""`python -m polyforge.supervisor.role MODULE`: be the process whose `__main__` the module is.

Its imports run without garbage collection. What they make lives as long as the process, and looking through it again
and again took a tenth of every start. The process collects from `polyforge.wiring.process.run_process` on.
"""

import gc
import runpy
import sys


def main() -> None:
    """Run the module that the first argument names."""
    gc.disable()
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
