"""Shared limits in Redis, or whatever speaks its protocol and runs Lua.

Everything that must not be lost in part lies in one hash: which start of the server made it, the epoch, who has told
what they hold, and the pools. So it is lost as a whole or not at all, by whatever flush or eviction; and another start
of the server begins another epoch, because what it remembers may be older than what it was told last. Redis' own clock
decides who was heard of lately. Each script goes over at most so many pools.
"""

from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from polyforge.adapters.redis_address import redis_address
from polyforge.kernel.errors import SettingsError, Unavailable
from polyforge.ports.lease_store import Claim, Grant, Standing
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef

_MOST_CLAIMS: Final = 100
_LATELY_SECONDS: Final = 30
_SCARCE_SECONDS: Final = 5
_SWEPT_AT_ONCE: Final = 20
_Client: Final[Any] = Redis

_COMMON: Final = """
local pools, machines = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known = redis.call('HGET', pools, 'run') == run
"""

_BEAT: Final = """
if not known then
  redis.call('DEL', pools)
  redis.call('HSET', pools, 'run', run, 'epoch', ARGV[2], 'born', now)
end
redis.call('ZADD', machines, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', machines, '-inf', now - 86400000)
local swept = redis.call('HSCAN', pools, redis.call('HGET', pools, 'cursor') or '0', 'MATCH', 'p:*', 'COUNT', ARGV[4])
redis.call('HSET', pools, 'cursor', swept[1])
for place = 1, #swept[2], 2 do
  local pool = cmsgpack.unpack(swept[2][place + 1])
  if pool.expires > 0 and pool.expires < now then redis.call('HDEL', pools, swept[2][place]) end
end
return {
  redis.call('HGET', pools, 'epoch'), redis.call('HEXISTS', pools, 'open'),
  tonumber(redis.call('HGET', pools, 'arrivals') or 0), redis.call('ZCOUNT', machines, now - ARGV[3] * 1000, '+inf')
}
"""

_REGISTER: Final = """
if not known or redis.call('HGET', pools, 'epoch') ~= ARGV[1] then return 0 end
if redis.call('HSET', pools, 'r:' .. ARGV[2], ARGV[3]) == 1 then redis.call('HINCRBY', pools, 'arrivals', 1) end
local arrivals, complete = tonumber(redis.call('HGET', pools, 'arrivals')), true
for place = 5, #ARGV do
  if tonumber(redis.call('HGET', pools, 'r:' .. ARGV[place]) or -1) < arrivals then complete = false end
end
if complete or now - redis.call('HGET', pools, 'born') > ARGV[4] * 1000 then redis.call('HSET', pools, 'open', 1) end
return redis.call('HEXISTS', pools, 'open')
"""

_CLAIM: Final = """
if not known or redis.call('HGET', pools, 'epoch') ~= ARGV[1] then return false end
local open = redis.call('HEXISTS', pools, 'open') == 1
local living = math.max(1, tonumber(ARGV[5]), redis.call('ZCOUNT', machines, now - ARGV[3] * 1000, '+inf'))
local machine, answers = ARGV[2], {}
for at = 6, #ARGV, 10 do
  local name, number, held = 'p:' .. ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local need, want, allowed = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local used, lasts = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local raw = redis.call('HGET', pools, name)
  local pool = raw and cmsgpack.unpack(raw) or {used = -1, scarce = 0, holders = {}}
  if used > pool.used and (pool.used < 0 or not open) then pool.used = used end
  local others, mine = math.max(0, pool.used), pool.holders[machine]
  for other, part in pairs(pool.holders) do
    if other ~= machine then
      local seen = lasts > 0 and redis.call('ZSCORE', machines, other)
      if lasts > 0 and (not seen or now - seen > lasts) then pool.holders[other] = nil
      else others = others + part[1] end
    end
  end
  local less = tonumber(ARGV[at + 9]) == 1
  if (mine and mine[2] >= number) or (less and not (mine and mine[1] > held)) then
    for _, each in ipairs({0, 0, others, 0}) do table.insert(answers, each) end
  else
    local left, granted = allowed - others - held, 0
    local within = left
    if not open then within = lasts > 0 and math.min(left, math.floor(allowed / living) - held) or 0 end
    if need > 0 and pool.used >= 0 and within >= need then
      if now - pool.scarce > ARGV[4] * 1000 then granted = math.min(want, math.floor(within / (2 * living))) end
      granted = math.max(need, granted)
    elseif need > 0 then pool.scarce = now end
    pool.holders[machine] = held + granted > 0 and {held + granted, number} or nil
    pool.expires = math.max(pool.expires or 0, tonumber(ARGV[at + 8]))
    redis.call('HSET', pools, name, cmsgpack.pack(pool))
    local scarce = now - pool.scarce <= ARGV[4] * 1000 and 1 or 0
    for _, each in ipairs({granted, left - granted, others, scarce}) do table.insert(answers, each) end
  end
end
return answers
"""


class Settings(BaseModel):
    """Limits that several machines share, in Redis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretRef = Field(
        description="Where it is, as in `redis://[user:password@]host:6379/0`, `rediss://` with TLS; or where that is"
        " written: `env:NAME`, `file:/path`, `secret:name`."
    )
    prefix: str = Field(
        default="polyforge:limits:", min_length=1, max_length=100, description="What every key there begins with."
    )
    timeout_seconds: float = Field(default=0.5, gt=0, le=10, description="How long Redis may take to answer.")


class RedisLeaseStore:
    """Sends each script on a connection of its own, from a pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = [f"{settings.prefix}{{shared}}:{name}" for name in ("pools", "machines")]
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._client: Any = None
        self._moved = False
        if settings.url.name is None:
            self._address()

    async def open(self, secrets: SecretSource) -> None:
        """Remember where secrets are; connecting is left to the first script."""
        self._secrets = secrets
        if self._settings.url.name is not None:
            self._unwatch = secrets.watch(self._settings.url.name, self._forget)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._unwatch is not None:
            self._unwatch()
        await self._disconnect()

    async def beat(self, machine: str) -> Standing:
        """Say that a machine lives; begins another epoch where the hash is gone, or another server's."""
        answer = await self._run(_BEAT, machine, token_hex(8), _LATELY_SECONDS, _SWEPT_AT_ONCE)
        return Standing(answer[0].decode(), bool(answer[1]), int(answer[2]), int(answer[3]))

    async def register(self, epoch: str, machine: str, machines: Sequence[str], seen: int, patience: float) -> bool:
        """Say that a machine has told what it holds; whether the store is open now."""
        return bool(await self._run(_REGISTER, epoch, machine, seen, patience, *machines))

    async def claim(self, epoch: str, machine: str, claims: Sequence[Claim], machines: int = 1) -> list[Grant] | None:
        """What a machine gets, for each claim; None when the epoch is over."""
        grants: list[Grant] = []
        for start in range(0, len(claims), _MOST_CLAIMS):
            words = [word for each in claims[start : start + _MOST_CLAIMS] for word in _words(each)]
            answer = await self._run(_CLAIM, epoch, machine, _LATELY_SECONDS, _SCARCE_SECONDS, machines, *words)
            if answer is None:
                return None
            numbers = [int(number) for number in answer]
            grants += [
                Grant(numbers[at], numbers[at + 1], numbers[at + 2], bool(numbers[at + 3]))
                for at in range(0, len(numbers), 4)
            ]
        return grants

    async def _run(self, script: str, *words: object) -> Any:
        try:
            if self._moved:
                self._moved = False
                await self._disconnect()
            if self._client is None:
                self._client = self._connect()
            return await self._client.register_script(_COMMON + script)(keys=self._keys, args=words)
        except (RedisError, OSError, TimeoutError, SettingsError) as error:
            raise Unavailable("the limits shared in Redis cannot be reached", retry_after=1.0) from error

    def _connect(self) -> Any:
        seconds = self._settings.timeout_seconds
        return _Client.from_url(
            self._address(),
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def _address(self) -> str:
        return redis_address(self._settings.url, self._secrets)

    def _forget(self) -> None:
        """The address has changed: the connections to the earlier one go with the next script."""
        self._moved = True

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(RedisError, OSError):
                await client.aclose()


def _words(claim: Claim) -> tuple[object, ...]:
    lasts, expires = round(claim.lasts * 1000), round(claim.expires * 1000)
    return (
        claim.pool,
        claim.number,
        claim.held,
        claim.need,
        claim.want,
        claim.allowed,
        claim.used,
        lasts,
        expires,
        int(claim.only_less),
    )


ADAPTER = RedisLeaseStore
