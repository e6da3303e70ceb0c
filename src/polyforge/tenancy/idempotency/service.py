"""One key, one answer: whoever sends a request again under its key gets what came of it, and nothing is done twice.

An attempt takes its key before anything is done, and keeps its answer before the last bytes of it are sent. While it
runs, others with the same key wait, in whatever worker they are. Its lease is renewed every few seconds, so that the
key of an attempt whose process was killed is free soon after. What failed in a way that may pass is let go of.
"""

import asyncio
import hashlib
import zlib
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import (
    IdempotencyAnswerLost,
    IdempotencyKeyReused,
    IdempotencyRunning,
    PolyforgeError,
    Unavailable,
)
from polyforge.kernel.ids import new_ulid
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.settings import IdempotencySettings
from polyforge.tenancy.idempotency.store import (
    IdempotentEditor,
    IdempotentRow,
    IdempotentStore,
    State,
    SystemIdempotent,
)

KEY_HEADER: Final = "idempotency-key"
BELONGS_TO: Final = "idempotent/{organization_id}/{project_id}/{id}"
"""What a sealed answer is bound to, so that it does not open in another row."""
LEASE_SECONDS: Final = 15.0
"""How long after its last sign of life an attempt is taken to be alive."""
RENEW_SECONDS: Final = 5.0
KEEP_SECONDS: Final = 2.0
"""How long keeping may hold an answer back."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
_HOUR_SECONDS: Final = 3600
_LEVEL: Final = 1
_log = get_logger(__name__)


class KeptAnswer(msgspec.Struct, array_like=True, frozen=True):
    """An answer as it was given: status, media type and all of its body."""

    status: int
    content_type: bytes
    body: bytes


class Claim(msgspec.Struct, frozen=True):
    """A key that an attempt has taken."""

    id: str
    owner: str
    scope: Scope


_decode: Final = msgspec.msgpack.Decoder(KeptAnswer).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class Idempotency:
    """The keys that callers send, as one gateway worker sees them."""

    def __init__(self, settings: IdempotencySettings, database: Database, clock: Clock, master: MasterKeys) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._master = master
        self._held: set[str] = set()
        self._renewing: asyncio.Task[None] | None = None

    @property
    def max_bytes(self) -> int:
        """The largest answer that is kept."""
        return self._settings.max_bytes

    async def close(self) -> None:
        """Stop renewing; what still runs is done for by then."""
        task, self._renewing = self._renewing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def claim(self, caller: Caller, key: bytes, request: bytes) -> Claim | KeptAnswer:
        """Take the key for an attempt, or what came of an earlier one, which is waited for while it runs.

        `request` is a SHA-256 of what is asked. IdempotencyKeyReused when that was something else,
        IdempotencyRunning when it takes too long, IdempotencyAnswerLost for an answer that was too large,
        Unavailable without the database.
        """
        scope = Scope(caller.organization_id, caller.project_id)
        claim = Claim(_id_of(scope, key), new_ulid(), scope)
        waited_until = self._clock.monotonic() + self._settings.wait_seconds
        pause = _FIRST_PAUSE
        while True:
            row = await self._look(claim, request)
            if row is None:
                self._hold(claim.owner)
                return claim
            if row.state != "running":
                return await asyncio.to_thread(self._open, claim, row)
            if self._clock.monotonic() >= waited_until:
                raise IdempotencyRunning("the first request with this key is still being answered", retry_after=1.0)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)

    async def keep(self, claim: Claim, answer: KeptAnswer | None) -> None:
        """Keep what came of an attempt, None: it is too large, and only that is noted.

        Raises nothing: an answer that cannot be kept is given all the same.
        """
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                await self._keep(claim, "large" if answer is None else "kept", _encode(answer))
        except (PolyforgeError, TimeoutError) as error:
            _log.warning("the answer to a key could not be kept", reason=str(error) or "it took too long")
        finally:
            self._held.discard(claim.owner)

    async def release(self, claim: Claim) -> None:
        """Let go of the key of an attempt that came to nothing. Raises nothing: the lease ends by itself."""
        self._held.discard(claim.owner)
        try:
            async with asyncio.timeout(KEEP_SECONDS), self._database.write(claim.scope) as session:
                await IdempotentEditor(session, claim.scope).release(claim.id, claim.owner)
        except (PolyforgeError, TimeoutError) as error:
            _log.warning("a key could not be let go of", reason=str(error) or "it took too long")

    async def _look(self, claim: Claim, request: bytes) -> IdempotentRow | None:
        """What is known of the key; None when it is ours from now on."""
        async with self._database.read(claim.scope) as session:
            row = await IdempotentStore(session, claim.scope).find(claim.id)
        now = self._clock.now()
        if row is not None and row.expires_at > now:
            if row.request != request:
                raise IdempotencyKeyReused("this key came with another request before; use a new one", param=KEY_HEADER)
            if row.state != "running" or row.lease_until > now:
                return row
        async with self._database.write(claim.scope) as session:
            return await self._take(IdempotentEditor(session, claim.scope), claim, request, row)

    async def _take(
        self, editor: IdempotentEditor, claim: Claim, request: bytes, row: IdempotentRow | None
    ) -> IdempotentRow | None:
        """Take the key if it is free, or its attempt dead; else what is known of it now."""
        now = self._clock.now()
        lease = {"owner": claim.owner, "lease_until": now + LEASE_SECONDS}
        if row is not None and row.expires_at <= now:
            await editor.expire(claim.id, now)
        elif row is not None and await editor.take_over(claim.id, now, lease):
            return None
        values = {
            "id": claim.id,
            "request": request,
            "state": "running",
            **lease,
            "sealed": self._master.seal(b"", _belongs_to(claim)),
            "created_at": now,
            "expires_at": now + self._settings.retention_hours * _HOUR_SECONDS,
        }
        return None if await editor.claim(values) else await editor.find(claim.id)

    async def _keep(self, claim: Claim, state: State, content: bytes) -> None:
        sealed = await asyncio.to_thread(self._seal, content, _belongs_to(claim))
        async with self._database.write(claim.scope) as session:
            values = {"state": state, "sealed": sealed}
            if not await IdempotentEditor(session, claim.scope).answer(claim.id, claim.owner, values):
                _log.warning("a key was taken over by another attempt before its answer was kept")

    def _seal(self, content: bytes, belongs_to: str) -> bytes:
        return self._master.seal(zlib.compress(content, _LEVEL), belongs_to)

    def _open(self, claim: Claim, row: IdempotentRow) -> KeptAnswer:
        if row.state == "large":
            raise IdempotencyAnswerLost(
                f"this key was answered with more than the {self._settings.max_bytes} bytes that are kept;"
                " use a new one to ask again",
                param=KEY_HEADER,
            )
        try:
            return _decode(zlib.decompress(self._master.open(row.sealed, _belongs_to(claim))))
        except Unsealable as error:
            raise Unavailable(f"the answer to this key cannot be opened: {error}") from error

    def _hold(self, owner: str) -> None:
        self._held.add(owner)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(), name="idempotency leases")

    async def _renew(self) -> None:
        """Tell that the attempts of this worker are alive, for as long as there are any."""
        while self._held:
            await asyncio.sleep(RENEW_SECONDS)
            if not self._held:
                return
            try:
                async with self._database.write() as session:
                    await SystemIdempotent(session).renew(self._held, self._clock.now() + LEASE_SECONDS)
            except PolyforgeError as error:
                _log.warning("keys could not be renewed", reason=error.message)


def request_digest(path: str, body: bytes | bytearray) -> bytes:
    """What tells one request from another."""
    return hashlib.sha256(path.encode() + b"\n" + body).digest()


def _id_of(scope: Scope, key: bytes) -> str:
    return hashlib.sha256(f"{scope.project_id}\n".encode() + key).hexdigest()


def _belongs_to(claim: Claim) -> str:
    scope = claim.scope
    return BELONGS_TO.format(organization_id=scope.organization_id, project_id=scope.project_id, id=claim.id)
