"""The child's side of code that nobody vouches for: it gives up everything but computing, then runs it once.

Only the standard library is used here: the child runs without the libraries that are installed.
"""

import builtins
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

from polyforge.isolation.frames import Frame
from polyforge.isolation.program import CannotServe, Program, Reply
from polyforge.isolation.seccomp import restrict

OK: Final = b"ok"
FAILED: Final = b"failed"
MODULES: Final = (
    "_strptime", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections.abc", "colorsys", "copy",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "encodings.ascii", "encodings.cp1252", "encodings.idna",
    "encodings.latin_1", "encodings.punycode", "encodings.unicode_escape", "encodings.utf_16", "encodings.utf_32",
    "encodings.utf_8_sig", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html.parser", "io",
    "ipaddress", "itertools", "json", "math", "numbers", "operator", "random", "re", "secrets", "statistics", "string",
    "struct", "textwrap", "time", "traceback", "typing", "unicodedata", "urllib.parse", "uuid", "zlib",
)  # fmt: skip
"""What code can import: what is loaded before there are no files any more."""
_MOST_TOLD: Final = 500
_NAME: Final = "<code>"


def main() -> None:
    """Be the process that the command line describes."""
    program = Program(sys.argv[-1])
    memory_bytes: int = program.arguments["memory_bytes"]
    seconds: int = program.arguments["cpu_seconds"]

    def start() -> tuple[bytes, Any]:
        for name in MODULES:
            importlib.import_module(name)
        _give_up(memory_bytes, seconds)
        return b"", answer

    program.run(start)


def answer(frame: Frame) -> Reply:
    """What the code leaves as `result`, or how it failed. The header is the code, the payload its inputs as JSON."""
    names = {"__builtins__": builtins, "__name__": "__main__", **json.loads(bytes(frame.payload))}
    try:
        exec(compile(bytes(frame.header).decode(), _NAME, "exec"), names)  # noqa: S102  this is what it is for
        if "result" not in names:
            return _failed("it does not set `result`")
        written = json.dumps(names["result"], allow_nan=False, ensure_ascii=False).encode()
    except BaseException as error:  # noqa: BLE001  whatever it was, it is the code's, and is told
        names.clear()
        return _failed(_told(error))
    return OK, [memoryview(written)]


def _failed(reason: str) -> Reply:
    return FAILED, [memoryview(reason.encode(errors="replace"))]


def _told(error: BaseException) -> str:
    """The kind of an error, what it says, and the line of the code that it is about."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = "" if line is None else f"line {line}: "
    return f"{where}{type(error).__name__}: {error}"[:_MOST_TOLD]


def _give_up(memory_bytes: int, seconds: int) -> None:
    """Everything but computing. CannotServe where the kernel does not take it."""
    os.environ.clear()
    os.environ["TZ"] = "UTC"
    time.tzset()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, now + memory_bytes))
    try:
        restrict()
    except OSError as error:
        raise CannotServe(f"code cannot be kept in here: {error.strerror}") from error


if __name__ == "__main__":
    main()
