"""Code that nobody vouches for computes, and does nothing else."""

import asyncio
import json
import os
import signal

import psutil
import pytest

from polyforge.isolation.sandbox import Sandbox
from polyforge.isolation.seccomp import is_known_here
from polyforge.kernel.errors import Invalid, TimedOut
from tests.support.waiting import eventually_async

MIB = 1 << 20
pytestmark = pytest.mark.skipif(
    not is_known_here(), reason="code is kept in by Linux's seccomp on x86_64 and aarch64; run this on such a machine"
)


async def left(code: str, memory: int = 64 * MIB, seconds: float = 20.0, most: int = MIB, **inputs: object) -> object:
    found = await Sandbox(1).run(
        code, json.dumps(inputs).encode(), memory_bytes=memory, seconds=seconds, output_bytes=most
    )
    return json.loads(found)


async def test_code_has_its_inputs_and_leaves_a_result() -> None:
    assert await left("result = {'sum': a + len(b), 'ü': None}", a=1, b=[1, 2]) == {"sum": 3, "ü": None}
    code = "import re, statistics, datetime, decimal\nresult = [statistics.mean([1, 2]), re.sub('a', 'b', 'aa')]"
    assert await left(code) == [1.5, "bb"]
    assert await left("import datetime\nresult = datetime.datetime.strptime('2020', '%Y').isoformat()") == (
        "2020-01-01T00:00:00"
    )
    assert await left("print('x' * 1_000_000)\nresult = 1") == 1


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1", "does not set `result`"),
        ("\nresult = 1 / 0", "line 2: ZeroDivisionError"),
        ("def f(:", "line 1: SyntaxError"),
        ("result = {1, 2}", "not JSON serializable"),
        ("result = float('nan')", "not JSON compliant"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import requests", "No module named 'requests'"),
        ("result = 'x' * 10**9", "MemoryError"),
        ("x = []\nwhile True: x.append('a' * 100_000)", "MemoryError"),
    ],
)
async def test_code_that_fails_says_where(code: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        await left(code)


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd').read()",
        "open('/tmp/polyforge-escaped', 'w')",
        "os.listdir('/')",
        "os.stat('/etc/passwd')",
        "os.readlink('/proc/self/exe')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 9)",
        "os.pipe()",
        "os.mkdir('/tmp/polyforge-escaped')",
        "__import__('socket').socket()",
        "__import__('socket').create_connection(('127.0.0.1', 80))",
        "__import__('threading').Thread(target=print).start()",
        "__import__('resource').setrlimit(7, (9, 9))",
    ],
)
async def test_code_reaches_nothing(attempt: str) -> None:
    code = (
        f"import os\ntry:\n    {attempt}\nexcept (OSError, RuntimeError, ValueError) as error:\n    result = str(error)"
    )
    told = str(await left(code))
    assert any(words in told for words in ("not permitted", "can't start new thread", "not allowed"))
    assert not os.path.exists("/tmp/polyforge-escaped")  # noqa: ASYNC240


async def test_native_calls_reach_nothing_either() -> None:
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "result = [libc.open(b'/etc/passwd', 0), libc.socket(2, 1, 0), libc.system(b'true') == 0,"
        " libc.prctl(1, 0, 0, 0, 0), libc.syscall(59, b'/bin/true', 0, 0)]"
    )
    assert await left(code) == [-1, -1, False, -1, -1]


async def test_code_sees_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere/special")
    assert await left("import os\nresult = dict(os.environ)") == {"TZ": "UTC"}


async def test_code_that_leaves_too_much_or_nonsense_is_an_error() -> None:
    with pytest.raises(Invalid, match="more than 1000 bytes"):
        await left("result = 'x' * 5_000", most=1_000)
    with pytest.raises(Invalid, match="inputs of the code"):
        await left("result = 1", most=1_000, a="x" * 2_000)
    with pytest.raises(Invalid, match="spoke out of turn"):
        await left(
            "import os\nfor n in range(3, 300):\n  try: os.write(n, b'x' * 100)\n  except OSError: pass\nresult = 1"
        )
    with pytest.raises(Invalid, match="crashed"):
        await left("import ctypes\nctypes.string_at(0)")


async def test_code_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(TimedOut, match="longer than"):
        await left("while True: pass", seconds=0.5)
    await eventually_async(lambda: not children())


async def test_cancelling_kills_the_process() -> None:
    running = asyncio.create_task(left("while True: pass", seconds=300.0))
    await eventually_async(lambda: bool(children()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually_async(lambda: not children())


async def test_code_ends_with_its_process_killed_from_outside() -> None:
    running = asyncio.create_task(left("while True: pass", seconds=300.0))
    await eventually_async(lambda: bool(children()))
    os.kill(children()[0].pid, signal.SIGKILL)
    with pytest.raises(Invalid, match="crashed"):
        await running


async def test_only_so_many_run_at_once() -> None:
    sandbox = Sandbox(1)
    tasks = [
        asyncio.create_task(sandbox.run("result = 1", b"{}", memory_bytes=64 * MIB, seconds=60.0, output_bytes=1_000))
        for _ in range(3)
    ]
    most = 0
    while not all(task.done() for task in tasks):
        most = max(most, len(children()))
        await asyncio.sleep(0.01)
    assert [await task for task in tasks] == [b"1"] * 3
    assert most <= 1


def children() -> list[psutil.Process]:
    """The processes of sandboxes, those included that are about to become one."""
    found = list[psutil.Process]()
    for each in psutil.Process().children():
        try:
            if "polyforge.isolation.sandbox_program" in each.cmdline():
                found.append(each)
        except psutil.Error:
            continue
    return found
