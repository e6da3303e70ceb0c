"""Pages beside the console: those that links in messages lead to while there is none, approvals, and published flows.

They know nothing of anybody: the browser brings the link's secret, or a key or a session, and asks the API.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from polyforge.server.http import RawHeaders

_FOLDER: Final = Path(__file__).parent
_HTML: Final = b"text/html; charset=utf-8"
FILES: Final[Mapping[str, tuple[str, bytes]]] = {
    "/auth/verify": ("link.html", _HTML),
    "/auth/reset": ("link.html", _HTML),
    "/auth/invitation": ("link.html", _HTML),
    "/auth/approval": ("approval.html", _HTML),
    "/auth/approval.js": ("approval.js", b"text/javascript; charset=utf-8"),
    "/auth/link.js": ("link.js", b"text/javascript; charset=utf-8"),
    "/auth/link.css": ("link.css", b"text/css; charset=utf-8"),
    "/flows/flow.js": ("flow.js", b"text/javascript; charset=utf-8"),
    "/flows/flow.css": ("flow.css", b"text/css; charset=utf-8"),
}
"""By path: the file, and its type."""
OF_THE_CONSOLE: Final = frozenset({"/auth/verify", "/auth/reset", "/auth/invitation"})
"""Where the console, if there is one, has pages of its own."""
_FLOW_PAGE: Final = re.compile(r"/flows/[A-Za-z0-9_-]{1,63}@[a-z0-9_-]{1,64}")
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


def is_page(path: str) -> bool:
    """Whether a path is one of a page, or of what belongs to one."""
    return path in FILES or _FLOW_PAGE.fullmatch(path) is not None


async def read_page(path: str) -> tuple[bytes, bytes]:
    """The type and the bytes of a page, or of what belongs to it."""
    name, kind = FILES.get(path, ("flow.html", _HTML))
    return kind, await asyncio.to_thread((_FOLDER / name).read_bytes)


def headers_of(path: str) -> RawHeaders:
    """What an answer says beside its type: for pages, what keeps them from being framed, changed and kept."""
    return list(_HEADERS) if is_page(path) else []
