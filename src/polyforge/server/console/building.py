"""What is shown while there is no console: that it is being built, or what to do when nobody builds it."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final, Literal

import msgspec

from polyforge.kernel.processes import is_running

STATE_FILE: Final = "build.json"
"""Beside the folder of the console; `tools/build_console.py` writes it and takes it away."""
_STATE_BYTES: Final = 64 * 1024
_REFRESH: Final = '<meta http-equiv="refresh" content="2">'
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 34rem; padding: 12vh 1.5rem; }
h1 { font-size: 1.5rem; }
"""
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
).encode()
"""What the page may do: nothing but look as it does."""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{refresh}
<title>Polyforge</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{text}
<p>The API is ready: everything under <code>/v1</code> and <code>/api</code> answers, with or without the console.</p>
</body>
</html>
"""


class BuildState(msgspec.Struct, frozen=True):
    """What the build says of itself."""

    state: Literal["building", "failed"]
    pid: int
    log: str = ""
    problem: str = ""


def read_state(path: Path) -> BuildState | None:
    """How far the build is; None when there is none, or the one there was ended without a word."""
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(_STATE_BYTES), type=BuildState)
    except (OSError, msgspec.DecodeError):
        return None
    return None if found.state == "building" and not is_running(found.pid) else found


def page_without_console(state: BuildState | None) -> bytes:
    """The page to show."""
    return _PAGE.format(style=_STYLE, **_parts(state)).encode()


def _parts(state: BuildState | None) -> dict[str, str]:
    if state is None:
        text = "<p>Run <code>make console</code> in the folder of the sources, then load this page again.</p>"
        return {"refresh": "", "title": "The console is not built", "text": text}
    log = f"<code>{escape(state.log)}</code>"
    if state.state == "building":
        text = f"<p>This takes about a minute, once. This page shows it as soon as it is there; the log is {log}.</p>"
        return {"refresh": _REFRESH, "title": "The console is being built", "text": text}
    text = (
        f"<p>{escape(state.problem)}</p>"
        f"<p>The whole log is {log}. Mend the cause, run <code>make console</code>, then load this page again.</p>"
    )
    return {"refresh": "", "title": "The console could not be built", "text": text}
