"""API keys: what a secret looks like, how it is made and hashed, and what is known about one."""

import base64
import hashlib
import os
import re
import sys
from functools import lru_cache
from typing import Final

import msgspec

from polyforge.kernel.errors import SettingsError
from polyforge.kernel.money import Micros
from polyforge.tenancy.callers import Caller, KeyLimits, Period

ADMIN_KEY_ID = "00000000000000000000000003"
"""The one key that is not issued but given: fixed, so that there is never more than one."""
KEY_MARK = "pf-"
JWT_MARK = "eyJ"
"""How access tokens begin, which keys therefore do not: `{"` in base64url."""
SHOWN_CHARACTERS = 10
MAX_TOKEN_BYTES = 512
MIN_ADMIN_CHARACTERS = 16

_WELL_FORMED = re.compile(rb"pf-[A-Za-z0-9_-]{43}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]")


class Secret(msgspec.Struct, frozen=True):
    """A key as its holder has it, with what may be kept of it. Never log or store `value`."""

    value: str
    prefix: str
    """Its first characters, to tell keys apart in lists."""
    hash: bytes


class ApiKey(msgspec.Struct, frozen=True, gc=False):
    """Everything that is kept about a key."""

    id: str
    organization_id: str
    project_id: str
    name: str
    prefix: str
    hash: bytes
    previous_hash: bytes | None
    previous_until: float | None
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    budget_micros: Micros | None
    budget_period: Period
    expires_at: float | None
    created_at: float
    revoked_at: float | None
    created_by: str | None
    """The user, the service account or the key that made it; None for the admin key, and where nobody wrote it down."""
    version: int
    """Rises with every change of any key, in the order of the commits."""


class WhichKeys(msgspec.Struct, frozen=True):
    """Which keys a list is to have, and in which order."""

    include_revoked: bool = False
    created_by: str | None = None
    """Those that this user, service account or key made; None: whoever made them."""
    search: str = ""
    """Those whose names hold this, in whatever case."""
    oldest_first: bool = False


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The user who made a key, and the user's groups in the key's organization."""

    user_id: str | None = None
    group_ids: tuple[str, ...] = ()


NOBODYS: Final = Owner()


def new_secret() -> Secret:
    """A key of 256 random bits: `pf-` and 43 characters of base64url (RFC 4648, section 5)."""
    return secret_of(KEY_MARK + base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode())


def secret_of(value: str) -> Secret:
    """What may be kept of a given key. A short one shows less of itself, so that enough stays secret."""
    shown = min(SHOWN_CHARACTERS, len(value) // 4)
    return Secret(value=value, prefix=value[:shown], hash=hash_of(value.encode()))


def hash_of(token: bytes) -> bytes:
    """SHA-256 of a whole key. No salt and no stretching: 256 random bits cannot be guessed from it."""
    return hashlib.sha256(token).digest()


def is_well_formed(token: bytes) -> bool:
    """Whether a token looks like a key that this product issues."""
    return _WELL_FORMED.fullmatch(token) is not None


def check_admin_key(value: str) -> str:
    """The admin key that somebody chose; SettingsError when it is too short or cannot travel in a header."""
    if not MIN_ADMIN_CHARACTERS <= len(value) <= MAX_TOKEN_BYTES:
        raise SettingsError(f"admin_key: must have {MIN_ADMIN_CHARACTERS} to {MAX_TOKEN_BYTES} characters")
    if value.startswith(JWT_MARK):
        raise SettingsError(f"admin_key: must not begin with {JWT_MARK}, as access tokens do")
    if not _HEADER_VALUE.fullmatch(value):
        raise SettingsError(
            "admin_key: must be ASCII without control characters or outer spaces: it travels in a header"
        )
    return value


@lru_cache(maxsize=256)
def _scopes(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


@lru_cache(maxsize=256)
def _limits(
    rpm: int | None, tpm: int | None, concurrency: int | None, budget: Micros | None, period: Period
) -> KeyLimits:
    return KeyLimits(rpm=rpm, tpm=tpm, concurrency=concurrency, budget=budget, period=period)


def caller_of(key: ApiKey, owner: Owner = NOBODYS) -> Caller:
    """The caller that requests with this key act for. What many keys have in common is kept once."""
    return Caller(
        key_id=key.id,
        key_name=key.name,
        organization_id=sys.intern(key.organization_id),
        project_id=sys.intern(key.project_id),
        scopes=_scopes(key.scopes),
        models=key.models,
        limits=_limits(key.rpm, key.tpm, key.concurrency, key.budget_micros, key.budget_period),
        expires_at=key.expires_at,
        user_id=owner.user_id,
        group_ids=owner.group_ids,
    )
