"""The second factor, pure: time-based codes (RFC 6238) and the recovery codes for when the device is lost."""

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from pyotp.totp import TOTP

STEP_SECONDS: Final = 30
WINDOW: Final = 1
"""How many steps a device's clock may be off."""
RECOVERY_CODES: Final = 10
ISSUER: Final = "Polyforge"
MAX_CODE_CHARACTERS: Final = 40
_DIGITS: Final = re.compile(r"[0-9]{6}", re.ASCII)
_SECRET_BYTES: Final = 20
_RECOVERY_BYTES: Final = 10
_GROUP: Final = 4


def new_secret() -> str:
    """160 random bits in base 32, as RFC 4226 recommends."""
    return base64.b32encode(os.urandom(_SECRET_BYTES)).decode()


def provisioning_uri(secret: str, email: str) -> str:
    """What an authenticator app reads from a picture (https://github.com/google/google-authenticator/wiki)."""
    return f"otpauth://totp/{ISSUER}:{quote(email)}?{urlencode({'secret': secret, 'issuer': ISSUER})}"


def matching_step(secret: str, code: str, now: float) -> int | None:
    """The time step whose code this is, None when it is none of those around now."""
    if _DIGITS.fullmatch(code) is None:
        return None
    current = int(now) // STEP_SECONDS
    totp = TOTP(secret)
    found: int | None = None
    for step in range(current - WINDOW, current + WINDOW + 1):
        if hmac.compare_digest(totp.at(step * STEP_SECONDS), code):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes of 80 random bits, in groups that can be written down."""
    return [_grouped(secrets.token_hex(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def recovery_hash(code: str) -> str:
    """What is kept of a recovery code. 80 random bits need no stretching."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).hexdigest()


def without(kept: Sequence[str], code: str) -> list[str] | None:
    """The hashes that are left once a recovery code is used, None when it is none of them."""
    used = recovery_hash(code)
    left = [each for each in kept if not hmac.compare_digest(each, used)]
    return left if len(left) < len(kept) else None


def _grouped(text: str) -> str:
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))
