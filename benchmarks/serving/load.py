"""Load from wrk with another body in each request, one after the other, so that all servers are asked the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import DONE, Load, run_script

SCRIPT = """
local bodies = dofile({bodies})
local requests = {{}}
local number = {start} % #bodies
init = function()
  for place, body in ipairs(bodies) do
    requests[place] = wrk.format("POST", nil, {{ {headers} }}, body)
  end
end
request = function()
  number = number % #requests + 1
  return requests[number]
end
{done}"""
PRINTABLE = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')


@dataclass(frozen=True)
class Calls:
    """Requests to one address that differ in their bodies."""

    url: str
    headers: Mapping[str, str]
    bodies: Sequence[bytes]


def run_wrk(calls: Calls, callers: int, seconds: float, folder: Path, start: int) -> Load:
    """Send the bodies in their order from one of them on, for some seconds, each caller one request at a time."""
    bodies, script = folder / "bodies.lua", folder / "load.lua"
    bodies.write_text("return {\n" + ",\n".join(quoted(body) for body in calls.bodies) + "\n}\n")
    headers = ", ".join(
        f"[{quoted(name.encode())}] = {quoted(value.encode())}" for name, value in calls.headers.items()
    )
    script.write_text(SCRIPT.format(bodies=quoted(bytes(bodies)), start=start, headers=headers, done=DONE))
    return run_script(script, calls.url, callers, seconds)


def quoted(content: bytes) -> str:
    """Bytes as Lua writes them."""
    return '"' + "".join(chr(byte) if byte in PRINTABLE else f"\\{byte:03d}" for byte in content) + '"'
