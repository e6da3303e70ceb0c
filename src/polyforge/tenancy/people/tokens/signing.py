"""The keys that sign access tokens: made when first needed, sealed, and replaced every 30 days.

A new key is published for a while before it signs, so that whoever caches the key set has it in time; an old one stays
published until its last token has expired. Every process decides this from the same rows and the same rules, so there
is nothing to agree on but who makes the next key, and for that there is a lock.
"""

import base64
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import RowMapping

from polyforge.database.database import Database
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.flights import Flights
from polyforge.tenancy.people.tokens.access import ALGORITHM, LEEWAY_SECONDS, TTL_SECONDS
from polyforge.tenancy.people.tokens.store import SystemSigningKeyEditor, SystemSigningKeys

ROTATE_SECONDS: Final = 30 * 86_400.0
LEAD_SECONDS: Final = 10 * 60.0
"""How long a key is published before it signs."""
SUBJECT: Final = "signing_key"
_READ: Final = "read"
_MAKE: Final = "make"
_OVERLAP_SECONDS: Final = LEAD_SECONDS + TTL_SECONDS + 2 * LEEWAY_SECONDS
_LOOK_AGAIN_SECONDS: Final = 1.0
_LOOK_ANYWAY_SECONDS: Final = 60.0
_NEVER: Final = float("-inf")
_SYSTEM: Final = Caller(
    "00000000000000000000000000", "polyforge", DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID, frozenset(), kind="system"
)
_log = get_logger(__name__)


class SigningKey(msgspec.Struct, frozen=True):
    """One key. `private` is None when the master key that it was sealed with is not at hand."""

    id: str
    public: Ed25519PublicKey
    private: Ed25519PrivateKey | None
    created_at: float


class SigningKeys:
    """The keys of the installation as this process knows them."""

    def __init__(self, database: Database, clock: Clock, master: MasterKeys, recorder: Recorder) -> None:
        self._database = database
        self._clock = clock
        self._master = master
        self._recorder = recorder
        self._keys: dict[str, SigningKey] = {}
        self._looked_at = _NEVER
        self._changes = 0
        self._flights: Flights[str, None] = Flights("look-ups of keys", 2)

    async def close(self) -> None:
        """Let go of who still waits."""
        await self._flights.close()

    def forget(self) -> None:
        """Look again before the next use: the keys have changed."""
        self._looked_at = _NEVER
        self._changes += 1

    async def signer(self) -> tuple[str, Ed25519PrivateKey]:
        """The id of the key that signs now, and the key; made when there is none, or when the newest is old."""
        await self._look(_LOOK_ANYWAY_SECONDS)
        if _is_due(self._ordered(), self._clock.now()):
            await self._flights.join(_MAKE, self._make)
        key = _signer_of(self._ordered(), self._clock.now())
        if key is None or key.private is None:
            raise Unavailable("there is no key to sign access tokens with; try again", retry_after=1.0)
        return key.id, key.private

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """The key with this id, None when there is none, or not any more."""
        await self._look(_LOOK_ANYWAY_SECONDS)
        if kid not in self._keys:
            await self._look(_LOOK_AGAIN_SECONDS)
        key = self._keys.get(kid)
        if key is None or key.id in _outlived(self._ordered(), self._clock.now()):
            return None
        return key.public

    async def key_set(self) -> dict[str, list[dict[str, str]]]:
        """The public keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""
        await self._look(_LOOK_ANYWAY_SECONDS)
        over = _outlived(self._ordered(), self._clock.now())
        return {"keys": [_jwk(key) for key in self._ordered() if key.id not in over]}

    def _ordered(self) -> list[SigningKey]:
        return list(self._keys.values())

    async def _look(self, seconds: float) -> None:
        """Read the keys, unless that was less than `seconds` ago."""
        if self._clock.monotonic() - self._looked_at >= seconds:
            await self._flights.join(_READ, self._read)

    async def _read(self) -> None:
        now, changes = self._clock.monotonic(), self._changes
        async with self._database.read() as session:
            rows = await SystemSigningKeys(session).usable()
        self._take(rows)
        if changes == self._changes:
            # Otherwise they changed meanwhile, perhaps after they were read.
            self._looked_at = now

    async def _make(self) -> None:
        """Make the next key, unless somebody else just did, and retire those that have signed nothing for long."""
        async with self._database.write() as session:
            editor = SystemSigningKeyEditor(session)
            await editor.lock()
            now, rows = self._clock.now(), await editor.usable()
            keys = [self._open(row) for row in rows]
            if _is_due(keys, now):
                values = self._new(now)
                await editor.add(values)
                await editor.retire(sorted(_outlived(keys, now)), now)
                rows = await editor.usable()
                subject = Subject(SUBJECT, values["id"], DEFAULT_ORGANIZATION_ID)
                await self._recorder.changed(session, _SYSTEM, "people", "signing_key.created", subject)
        self._take(rows)

    def _new(self, now: float) -> dict[str, Any]:
        key, kid = Ed25519PrivateKey.generate(), new_ulid()
        return {
            "id": kid,
            "public": key.public_key().public_bytes_raw(),
            "sealed": self._master.seal(key.private_bytes_raw(), _belongs_to(kid)),
            "created_at": now,
            "retired_at": None,
        }

    def _take(self, rows: Sequence[RowMapping]) -> None:
        self._keys = {row["id"]: self._keys.get(row["id"]) or self._open(row) for row in rows}

    def _open(self, row: RowMapping) -> SigningKey:
        private = None
        try:
            private = Ed25519PrivateKey.from_private_bytes(self._master.open(row["sealed"], _belongs_to(row["id"])))
        except Unsealable as error:
            _log.warning("a signing key cannot be opened; its tokens are still good", key=row["id"], reason=str(error))
        return SigningKey(row["id"], Ed25519PublicKey.from_public_bytes(row["public"]), private, row["created_at"])


def _is_due(keys: Sequence[SigningKey], now: float) -> bool:
    """Whether the next key has to be made: none can sign, or the newest that can is old. Oldest key first."""
    able = _able(keys, now)
    return not able or able[-1].created_at + ROTATE_SECONDS <= now


def _signer_of(keys: Sequence[SigningKey], now: float) -> SigningKey | None:
    """The newest key that has been published long enough; the oldest when none has. Oldest key first."""
    able = _able(keys, now)
    published = [key for key in able if key.created_at + LEAD_SECONDS <= now]
    return next(iter(published[::-1] or able), None)


def _able(keys: Sequence[SigningKey], now: float) -> list[SigningKey]:
    over = _outlived(keys, now)
    return [key for key in keys if key.private is not None and key.id not in over]


def _outlived(keys: Sequence[SigningKey], now: float) -> set[str]:
    """The keys whose last token has expired, since their successor has signed for so long. Oldest key first."""
    return {key.id for key, successor in pairwise(keys) if successor.created_at + _OVERLAP_SECONDS <= now}


def _jwk(key: SigningKey) -> dict[str, str]:
    point = base64.urlsafe_b64encode(key.public.public_bytes_raw()).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": key.id, "x": point}


def _belongs_to(kid: str) -> str:
    return f"signing key/{kid}"
