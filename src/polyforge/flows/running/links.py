"""Links that decide: they say which approval, in whose name and until when, under a key of this installation."""

import base64
import binascii
import hmac
from hashlib import sha256
from typing import Final

import msgspec

from polyforge.jobs.records import AskedBy
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import WrongCredentials
from polyforge.secrets.sealing import MasterKeys
from polyforge.tenancy.callers import Caller

_PURPOSE: Final = "approval links"
_LONGEST: Final = 8_000


class LinkClaims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a link says."""

    approval_id: str
    organization_id: str
    project_id: str
    asked_by: AskedBy
    """Who made the link: whoever follows it decides in their name."""
    until: float

    @property
    def caller(self) -> Caller:
        """Who made the link, as they stood then."""
        return self.asked_by.caller(self.organization_id, self.project_id)


class ApprovalLinks:
    """Makes and reads the tokens of links."""

    def __init__(self, master: MasterKeys, clock: Clock) -> None:
        self._keys = master.derive(_PURPOSE)
        self._clock = clock

    def make(self, caller: Caller, approval_id: str, permissions: frozenset[str], until: float) -> str:
        """A token that lets whoever has it decide, in the caller's name with these permissions, once and until then."""
        asked_by = AskedBy.of(caller, permissions)
        claims = LinkClaims(approval_id, caller.organization_id, caller.project_id, asked_by, until)
        body = _written(msgspec.json.encode(claims))
        return f"{body}.{_written(hmac.digest(self._keys[0], body.encode(), sha256))}"

    def read(self, token: str, approval_id: str) -> LinkClaims:
        """What a token says; WrongCredentials for one that is wrong, too old, or of another approval."""
        body, _, signature = token[:_LONGEST].partition(".")
        given = signature.encode("utf-8", "replace")
        if not any(
            hmac.compare_digest(_written(hmac.digest(key, body.encode("utf-8", "replace"), sha256)).encode(), given)
            for key in self._keys
        ):
            raise _wrong()
        try:
            claims = msgspec.json.decode(_read(body), type=LinkClaims)
        except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
            raise _wrong() from error
        if claims.approval_id != approval_id or claims.until <= self._clock.now():
            raise _wrong()
        return claims


def _wrong() -> WrongCredentials:
    return WrongCredentials("the link is wrong, used or too old; ask for another one")


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
