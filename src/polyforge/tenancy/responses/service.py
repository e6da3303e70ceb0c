"""Keeping responses for a project, and going on from them."""

import asyncio
import zlib
from collections.abc import Collection
from typing import Final

import msgspec

from polyforge.database.database import Database
from polyforge.database.scopes import Scope
from polyforge.dialects.openai_responses.state import Kept
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, Unavailable
from polyforge.secrets.sealing import MasterKeys, Unsealable
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.responses.settings import ResponseSettings
from polyforge.tenancy.responses.store import ResponseEditor, ResponseStore

BELONGS_TO: Final = "response/{organization_id}/{project_id}/{id}"
"""What a sealed response is bound to, so that it does not open in another row."""
KEEP_SECONDS: Final = 2.0
"""How long keeping may hold an answer back."""
REST_SECONDS: Final = 5.0
"""How long nothing is kept after it failed, so that not every answer waits for a database that is down."""
_DAY_SECONDS: Final = 86_400
_LEVEL: Final = 1

_kept: Final = msgspec.json.Decoder(Kept)
_encode: Final = msgspec.json.Encoder().encode
_log = get_logger(__name__)


class Responses:
    """The responses that one gateway keeps, each for the project of its caller."""

    def __init__(self, settings: ResponseSettings, database: Database, clock: Clock, master: MasterKeys) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._master = master
        self._rests_until = 0.0

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._settings.retention_days > 0

    async def find(self, caller: Caller, ids: Collection[str]) -> dict[str, Kept]:
        """Those of the ids that the caller's project has; Unavailable when that cannot be told now."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            sealed = await ResponseStore(session, scope).sealed(ids, self._clock.now())
        return await asyncio.to_thread(self._open, scope, sealed)

    async def remove(self, caller: Caller, response_id: str) -> bool:
        """Let go of a response; whether the caller's project had it."""
        scope = _scope(caller)
        async with self._database.write(scope) as session:
            return await ResponseEditor(session, scope).remove(response_id, self._clock.now())

    async def keep(self, caller: Caller, response_id: str, model: str, kept: Kept) -> bool:
        """Keep a response; False when it is too large, or cannot be kept in a short time. Raises nothing."""
        now = self._clock.monotonic()
        if not self.keeps or now < self._rests_until:
            return False
        content = _encode(kept)
        if len(content) > self._settings.max_bytes:
            return False
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                await self._keep(_scope(caller), response_id, model, content)
        except (PolyforgeError, TimeoutError) as error:
            self._rests_until = now + REST_SECONDS
            _log.warning(
                "a response could not be kept", request_id=response_id, reason=str(error) or "it took too long"
            )
            return False
        return True

    async def _keep(self, scope: Scope, response_id: str, model: str, content: bytes) -> None:
        created_at = self._clock.now()
        values = {
            "id": response_id,
            "model": model,
            "sealed": await asyncio.to_thread(self._seal, content, _belongs_to(scope, response_id)),
            "created_at": created_at,
            "expires_at": created_at + self._settings.retention_days * _DAY_SECONDS,
        }
        async with self._database.write(scope) as session:
            await ResponseEditor(session, scope).add(values)

    def _seal(self, content: bytes, belongs_to: str) -> bytes:
        return self._master.seal(zlib.compress(content, _LEVEL), belongs_to)

    def _open(self, scope: Scope, sealed: dict[str, bytes]) -> dict[str, Kept]:
        try:
            return {id_: self._open_one(value, _belongs_to(scope, id_)) for id_, value in sealed.items()}
        except Unsealable as error:
            raise Unavailable(f"a response cannot be opened: {error}") from error

    def _open_one(self, sealed: bytes, belongs_to: str) -> Kept:
        return _kept.decode(zlib.decompress(self._master.open(sealed, belongs_to)))


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)


def _belongs_to(scope: Scope, response_id: str) -> str:
    return BELONGS_TO.format(organization_id=scope.organization_id, project_id=scope.project_id, id=response_id)
