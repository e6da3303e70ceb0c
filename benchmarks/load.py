"""Load from wrk, with its figures exact to the microsecond."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

from benchmarks.scenarios import NUMBERED

MARK = "figures "
GRACE_SECONDS = 90
"""How long wrk may take beyond the time it was given."""

DONE = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'figures {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"refused":%d,"broken":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""
"""How a script ends: wrk's figures behind the mark."""

SCRIPT = """
local file = assert(io.open({body}, "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
{headers}
{distinct}
{done}"""

DISTINCT = """
local before, after = wrk.body:match("^(.-){word}(.*)$")
local number = 0
request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, before .. "{run} " .. string.format("%d", number) .. after)
end
"""
"""Each request differs from all others, those of earlier windows included."""


class LoadFailed(RuntimeError):
    """wrk gave no figures; the message holds what it printed."""


@dataclass(frozen=True)
class Call:
    """The request that wrk repeats."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Load:
    """What wrk saw: answers, seconds, latencies in microseconds, answers outside 2xx, broken connections."""

    requests: int
    seconds: float
    p50_micros: int
    p99_micros: int
    refused: int
    broken: int

    @property
    def errors(self) -> int:
        """Everything that was not a good answer."""
        return self.refused + self.broken


def run_wrk(call: Call, callers: int, seconds: float, core: int, folder: Path, *, distinct: bool = False) -> Load:
    """Repeat a request from a number of connections for some seconds; `distinct`: each time another one."""
    script = write_script(call, folder, distinct=distinct)
    return run_script(script, call.url, callers, seconds, on_core(core))


def run_script(script: Path, url: str, callers: int, seconds: float, prefix: Sequence[str] = ()) -> Load:
    """Let wrk send what a script says, which ends with DONE; LoadFailed when it gives no figures."""
    whole_seconds = max(1, round(seconds))
    command = wrk_command(script, url, callers, whole_seconds, prefix)
    done = subprocess.run(command, capture_output=True, text=True, timeout=whole_seconds + GRACE_SECONDS, check=False)
    return read_figures(url, done.stdout + done.stderr)


def wrk_command(script: Path, url: str, callers: int, seconds: int, prefix: Sequence[str] = ()) -> list[str]:
    """The command line of wrk, behind that of what runs it."""
    return [*prefix, "wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), url]


def on_core(core: int) -> list[str]:
    """What keeps a command on one core, before its command line."""
    return ["taskset", "-c", str(core)]


def read_figures(url: str, output: str, share: int = 1) -> Load:
    """What wrk says at its end; `share`: of so many that had turns it is one. LoadFailed when it gave no figures."""
    figures = next((line.partition(MARK)[2] for line in output.splitlines() if MARK in line), "")
    if not figures:
        raise LoadFailed(f"wrk on {url} gave no figures: {output}")
    seen: dict[str, int] = json.loads(figures)
    seconds = seen["micros"] / 1e6 / share
    return Load(seen["requests"], seconds, seen["p50"], seen["p99"], seen["refused"], seen["broken"])


def write_script(call: Call, folder: Path, *, distinct: bool = False) -> Path:
    """The script that repeats a request, in a folder of its target's own."""
    script = folder / "load.lua"
    (folder / "body.json").write_bytes(call.body)
    script.write_text(_script(call, folder / "body.json", distinct=distinct))
    return script


def _script(call: Call, body: Path, *, distinct: bool) -> str:
    headers = "\n".join(
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in call.headers.items()
    )
    numbered = DISTINCT.format(word=NUMBERED, run=time_ns()) if distinct else ""
    return SCRIPT.format(body=json.dumps(str(body)), headers=headers, distinct=numbered, done=DONE)
