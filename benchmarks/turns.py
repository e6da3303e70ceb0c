"""Load for several targets at once, of which one at a time gets it, for a tenth of a second each.

What a machine gives differs by a quarter from one window of seconds to the next, and hardly from one tenth of a second
to the next: the CPU that targets take per request can be told apart to a hundredth this way. Latencies cannot, since
answers wait while nobody reads them.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

from benchmarks.load import GRACE_SECONDS, Call, Load, on_core, read_figures, write_script, wrk_command

TURN_SECONDS = 0.1
BETWEEN_SECONDS = 0.015
"""Time for a target to finish what it was asked before the next one has its turn."""


def run_in_turns(
    calls: Sequence[tuple[Call, Path]], callers: int, seconds: float, core: int, *, distinct: bool = False
) -> list[Load]:
    """Repeat each request, for `seconds` of its own; LoadFailed when wrk gives no figures.

    A request comes with a folder of its own for files; `distinct`: it is another one each time, in this run and others.
    """
    whole = max(1, round(seconds * len(calls)))
    scripts = [(write_script(call, folder, distinct=distinct), call.url) for call, folder in calls]
    with ExitStack() as stack:
        commands = [wrk_command(script, url, callers, whole, on_core(core)) for script, url in scripts]
        loads = [stack.enter_context(_held(command)) for command in commands]
        end = time.monotonic() + whole
        for load in cycle(loads):
            load.send_signal(signal.SIGCONT)
            time.sleep(TURN_SECONDS)
            if time.monotonic() >= end:
                break
            load.send_signal(signal.SIGSTOP)
            time.sleep(BETWEEN_SECONDS)
        for load in loads:
            load.send_signal(signal.SIGCONT)
        said = [load.communicate(timeout=whole + GRACE_SECONDS) for load in loads]
    return [read_figures(url, "".join(each), share=len(scripts)) for (_, url), each in zip(scripts, said, strict=True)]


@contextmanager
def _held(command: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    """A program that was stopped as soon as it was started, and does not outlive its use."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        program.send_signal(signal.SIGSTOP)
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                program.kill()
