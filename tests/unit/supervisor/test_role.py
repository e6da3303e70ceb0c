import os
import subprocess
import sys
from pathlib import Path

MODULE = """
import gc
from polyforge.wiring.process import run_process

imported_under_collection = gc.isenabled()

def main():
    print(imported_under_collection, gc.isenabled(), gc.get_freeze_count() > 0)

if __name__ == "__main__":
    run_process(main)
"""


def test_a_role_collects_no_garbage_while_it_imports_and_does_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(MODULE)
    command = [sys.executable, "-m", "polyforge.supervisor.role", "stand_in"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout, ran.stderr) == ("False True True\n", "")
