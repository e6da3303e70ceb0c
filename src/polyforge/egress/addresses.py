"""Addresses in settings: refused where they are read, and not when somebody calls them."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

_SCHEMES: Final = frozenset({"http", "https"})


def check_url(url: str) -> str:
    """The address of a thing; ValueError when no HTTP client could call it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be an http:// or https:// address")
    return url


def check_base(url: str) -> str:
    """The address where an API begins; ValueError for one to which no path can be added."""
    if "?" in url or "#" in url:
        raise ValueError("must be an http:// or https:// address, without `?` and `#`")
    return check_url(url)


HttpUrl = Annotated[str, AfterValidator(check_url)]
HttpBase = Annotated[str, AfterValidator(check_base)]
