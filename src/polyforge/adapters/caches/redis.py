"""A cache in Redis, or whatever speaks its protocol, that all workers of all machines share.

Everything goes through one connection in the order in which it was asked for, what is asked for meanwhile together in
the next round trip. A Redis that does not answer in time is left alone for a while: until then nothing is found and
nothing kept, at no cost. What is kept is readable to whoever can read that Redis.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from polyforge.adapters.redis_address import redis_address
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Unavailable
from polyforge.ports.cache import CacheStats
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.logs import get_logger

_AT_ONCE: Final = 64
_BYTES_AT_ONCE: Final = 1024 * 1024
_MOST_WAITING: Final = 1000
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
_STREAK: Final = 3
_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 1.0
_CLEAR_SECONDS: Final = 60.0
_PAGE: Final = 1000
_log = get_logger(__name__)
_Client: Final[Any] = Redis


class Settings(BaseModel):
    """Answers in Redis, shared by every gateway."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretRef = Field(
        description="Where it is, as in `redis://[user:password@]host:6379/0`, `rediss://` with TLS; or where that is"
        " written: `env:NAME`, `file:/path`, `secret:name`."
    )
    prefix: str = Field(
        default="polyforge:cache:", min_length=1, max_length=100, description="What every key there begins with."
    )
    timeout_seconds: float = Field(
        default=0.05, gt=0, le=5, description="How long a request waits for Redis before it goes on without."
    )


class _Command(msgspec.Struct):
    words: tuple[Any, ...]
    size: int = 0
    answer: asyncio.Future[bytes | None] | None = None


class RedisCache:
    """Sends commands from one task, which lives from `open` to `close`."""

    shared: ClassVar[bool] = True

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._monotonic = clock.monotonic
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._client: Any = None
        self._moved = False
        self._waiting: deque[_Command] = deque()
        self._waiting_size = 0
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._streak = 0
        self._rests_until = 0.0
        self._failures = 0
        self._dropped = 0
        if settings.url.name is None:
            self._address()

    async def open(self, secrets: SecretSource) -> None:
        """Begin to send; connecting is left to the first command."""
        self._secrets = secrets
        if self._settings.url.name is not None:
            self._unwatch = secrets.watch(self._settings.url.name, self._forget)
        self._sender = asyncio.create_task(self._send_all(), name="redis cache")

    async def close(self) -> None:
        """Stop; what waits is not sent any more."""
        if self._unwatch is not None:
            self._unwatch()
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        self._give_up(list(self._waiting))
        self._waiting.clear()
        await self._disconnect()

    def may_have(self, key: str) -> bool:
        """Unless Redis is left alone: it alone knows."""
        return self._monotonic() >= self._rests_until

    async def get(self, key: str) -> bytes | None:
        """The value; None as well when Redis does not tell in time."""
        if self._monotonic() < self._rests_until:
            return None
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._ask(_Command(("GET", self._settings.prefix + key), len(key), answer)):
            return None
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await answer
        except TimeoutError:
            self._failures += 1
            return None

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value, soon; one that too much waits for already is dropped."""
        milliseconds = max(1, round(ttl * 1000))
        self._ask(_Command(("SET", self._settings.prefix + key, value, "PX", milliseconds), len(value)))

    def delete(self, key: str) -> None:
        """Let go of a value, soon."""
        self._ask(_Command(("UNLINK", self._settings.prefix + key), len(key)))

    async def clear(self, prefix: str) -> int:
        """Let go of every key that begins with `prefix`; how many there were. Unavailable when that cannot be done."""
        count = 0
        try:
            async with asyncio.timeout(_CLEAR_SECONDS), self._connect(_CONNECT_SECONDS) as client:
                page: list[bytes] = []
                async for key in client.scan_iter(match=_pattern(self._settings.prefix + prefix), count=_PAGE):
                    page.append(key)
                    if len(page) >= _PAGE:
                        count += int(await client.unlink(*page))
                        page.clear()
                if page:
                    count += int(await client.unlink(*page))
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("the cache in Redis could not be cleared; try again") from error
        return count

    def stats(self) -> CacheStats:
        """How it does; Redis itself tells how much it holds."""
        resting = self._monotonic() < self._rests_until
        return CacheStats(None, None, None, evicted=self._dropped, failures=self._failures, available=not resting)

    def _ask(self, command: _Command) -> bool:
        """Have a command sent; False where there are too many already, or Redis is left alone."""
        if self._monotonic() < self._rests_until:
            return False
        if len(self._waiting) >= _MOST_WAITING or self._waiting_size + command.size > _MOST_WAITING_BYTES:
            self._dropped += 1
            return False
        self._waiting.append(command)
        self._waiting_size += command.size
        self._wake.set()
        return True

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            commands = self._next()
            if not commands:
                self._wake.clear()
                continue
            try:
                await self._send(commands)
            except Exception as error:  # noqa: BLE001  # whatever it was, without this task nothing would be found again
                self._failed(error)
                self._give_up(commands)
                await self._disconnect()
            except BaseException:
                self._give_up(commands)
                raise
            else:
                self._streak = 0

    def _next(self) -> list[_Command]:
        """What goes out together: so much that it can be answered in time."""
        commands: list[_Command] = []
        size = 0
        while self._waiting and len(commands) < _AT_ONCE and size < _BYTES_AT_ONCE:
            command = self._waiting.popleft()
            self._waiting_size -= command.size
            if command.answer is not None and command.answer.done():
                continue
            size += command.size
            commands.append(command)
        return commands

    async def _send(self, commands: list[_Command]) -> None:
        if self._moved:
            self._moved = False
            await self._disconnect()
        if self._client is None:
            self._client = self._connect(self._settings.timeout_seconds)
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command.words)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        for command, answer in zip(commands, answers, strict=True):
            if command.answer is not None and not command.answer.done():
                command.answer.set_result(answer if isinstance(answer, bytes) else None)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        self._failures += len(refused)
        if len(refused) == len(answers):
            raise refused[0]

    def _failed(self, error: Exception) -> None:
        self._streak += 1
        self._failures += 1
        if self._streak < _STREAK:
            return
        rest = min(_LONGEST_REST_SECONDS, _REST_SECONDS * 2 ** min(10, self._streak - _STREAK))
        self._rests_until = self._monotonic() + rest
        self._give_up(list(self._waiting))
        self._waiting.clear()
        self._waiting_size = 0
        _log.warning("the cache in Redis is left alone", seconds=rest, reason=type(error).__name__)

    def _give_up(self, commands: list[_Command]) -> None:
        for command in commands:
            if command.answer is not None and not command.answer.done():
                command.answer.set_result(None)

    def _connect(self, timeout: float) -> Any:
        return _Client.from_url(
            self._address(),
            socket_timeout=timeout,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def _address(self) -> str:
        return redis_address(self._settings.url, self._secrets)

    def _forget(self) -> None:
        """The address has changed: the connection to the earlier one goes with the next command."""
        self._moved = True
        self._rests_until = 0.0

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(RedisError, OSError):
                await client.aclose()


def _pattern(prefix: str) -> str:
    """A glob that matches what begins with `prefix`."""
    return "".join(f"\\{letter}" if letter in "\\*?[]^-" else letter for letter in prefix) + "*"


ADAPTER = RedisCache
