"""What a child learns of our environment, and what its program may import."""

import ast
import subprocess
import sys

from polyforge.isolation.environment import child_environment
from polyforge.isolation.memory import own_bytes
from tests.architecture.sources import PACKAGE, imported


def test_secrets_stay_here() -> None:
    environ = {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "4",
        "OPENAI_API_KEY": "sk-1",
        "POLYFORGE_ADMIN_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "PYTHONPATH": "/elsewhere",
        "LD_PRELOAD": "/tmp/x.so",
    }
    found = child_environment(environ)
    assert {name: found[name] for name in ("PATH", "LC_ALL", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")} == {
        "PATH": "/bin", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "4",
    }  # fmt: skip
    assert not {"OPENAI_API_KEY", "POLYFORGE_ADMIN_KEY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LD_PRELOAD"} & set(
        found
    )


def test_the_childs_side_needs_no_library_but_numpy() -> None:
    """It runs in interpreters that have none of ours."""
    own = {"polyforge.isolation.frames", "polyforge.isolation.program"}
    files = ["isolation/frames.py", "isolation/program.py", "adapters/model_backends/engine/python_program.py"]
    names = {name for file in files for name in imported(ast.parse((PACKAGE / file).read_text()))}
    foreign = {
        name
        for name in names
        if name.partition(".")[0] not in sys.stdlib_module_names and name.rpartition(".")[0] not in own
    }
    assert foreign == {"numpy"}


def test_the_memory_of_a_process_is_its_own() -> None:
    grown = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(b'x') * 50_000_000; print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with grown:
        assert grown.stdout is not None
        grown.stdout.readline()
        found = own_bytes(grown.pid)
        grown.communicate(b"\n")
    assert found is not None
    assert 50_000_000 < found < 100_000_000
    assert own_bytes(grown.pid) is None
