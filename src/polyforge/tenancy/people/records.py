"""What is known of people and of their ways in."""

import hashlib
import re
import secrets
from typing import Any

import msgspec
from sqlalchemy import RowMapping

NOBODY = "0" * 26
"""An id that nothing has: where a look-up must cost the same though there is nothing to look up."""
IDLE_SECONDS = 12 * 3_600.0
"""A session that is not used for so long is over."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class User(msgspec.Struct, frozen=True):
    """A person with an account."""

    id: str
    email: str
    name: str
    password: str | None
    """Argon2id; None for those who come by single sign-on only."""
    verified_at: float | None
    totp: bytes | None
    """The sealed secret of the second factor."""
    totp_step: int
    recovery: list[str]
    operator: bool
    created_at: float
    disabled_at: float | None


class Session(msgspec.Struct, frozen=True):
    """A browser, or a command line, in which somebody signed in."""

    id: str
    user_id: str
    hash: bytes
    project_id: str | None
    created_at: float
    seen_at: float
    expires_at: float
    ended_at: float | None
    address: str
    agent: str


def user_of(row: RowMapping) -> User:
    """The user in a row of the table."""
    values: dict[str, Any] = dict(row)
    return User(**values)


def session_of(row: RowMapping) -> Session:
    """The session in a row of the table."""
    values: dict[str, Any] = dict(row)
    return Session(**values)


def new_token() -> str:
    """256 random bits for a link or a cookie, as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Whether a text looks like what `new_token` makes."""
    return _TOKEN.fullmatch(text) is not None


def hash_of(token: str) -> bytes:
    """What is kept of a token: its SHA-256. 256 random bits need no stretching."""
    return hashlib.sha256(token.encode()).digest()
