"""Objects in the storage of a cloud, over obstore: what is the same for S3, Google Cloud Storage and Azure.

Small objects go up in one request, larger ones in parts that become an object together. Reading asks for a piece at a
time, each in a request of its own that can be tried again, and all of the same version of the object.
"""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store
from pydantic import BaseModel, ConfigDict, Field

from polyforge.kernel.errors import NotFound, PolyforgeError, Unavailable
from polyforge.ports.objects import ObjectFacts, Stored, check_key, check_prefix
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef

Client = S3Store | GCSStore | AzureStore
Result = TypeVar("Result")
PREFIX: Final = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$"
_WHOLE: Final = 5 * 1024 * 1024
"""What is smaller goes up in one request; S3 takes no smaller parts."""
_PART: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 4
_PIECE: Final = 4 * 1024 * 1024
_PAGE: Final = 1000
_TRIES: Final = 4


class RemoteSettings(BaseModel):
    """How long to wait, and below what objects lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: str = Field(
        default="polyforge", pattern=PREFIX, max_length=500, description="What the names of objects begin with."
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="How long one request may take, such as one for a part of an object."
    )

    def client_options(self) -> dict[str, Any]:
        """The same in the words of the client."""
        return {"timeout": f"{self.timeout_seconds:g}s", "connect_timeout": f"{min(10.0, self.timeout_seconds):g}s"}

    def retry_config(self) -> dict[str, Any]:
        """How often it tries again."""
        return {"max_retries": _TRIES - 1, "retry_timeout": timedelta(seconds=self.timeout_seconds)}


class RemoteObjects(ABC):
    """Everything but how a client is made."""

    def __init__(self, settings: RemoteSettings, *references: SecretRef | None) -> None:
        self._seconds = settings.timeout_seconds * 2 + 5
        """A request with all of its tries; the client should have given up by itself."""
        self.secrets = FollowedSecrets(*references)
        self._client: Client | None = None

    @abstractmethod
    def connect(self) -> Client:
        """A client; it does no I/O yet."""
        ...

    def check(self, key: str) -> str:
        """A key as it is; Invalid for what is none."""
        return check_key(key)

    async def open(self, secrets: SecretSource) -> None:
        """Keep what credentials may be asked for."""
        self.secrets.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        self.secrets.close()
        self._client = None

    async def put(self, key: str, content: AsyncIterable[bytes]) -> Stored:
        """Keep what comes. A part that went up for nothing stays hidden in the bucket until its rules remove it."""
        self.check(key)
        upload = _Upload(content)
        beginning = await upload.beginning()
        client = self._connected()
        with _explained():
            try:
                if upload.over:
                    await self._timely(client.put_async(key, beginning, use_multipart=False))
                else:
                    parts = upload.parts(beginning)
                    await client.put_async(key, parts, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)
            except FileNotFoundError:
                raise Unavailable("the bucket for objects is not there; look at `objects`") from None
            except Exception:
                # The client tells of it in its own words.
                if upload.failure is not None:
                    raise upload.failure from None
                raise
        return Stored(upload.size, upload.digest.hexdigest())

    async def get(self, key: str, first: int = 0, count: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes of an object, all of the version that was there at first."""
        client = self._connected()
        with _explained():
            facts = await self._timely(client.head_async(self.check(key)))
        end = facts["size"] if count is None else min(facts["size"], first + count)
        for start in range(first, end, _PIECE):
            options: Any = {"range": (start, min(end, start + _PIECE))}
            if facts["e_tag"] is not None:
                options["if_match"] = facts["e_tag"]
            with _explained():
                answer = await self._timely(client.get_async(key, options=options))
                piece = await self._timely(answer.bytes_async())
            yield bytes(piece)

    async def stat(self, key: str) -> ObjectFacts | None:
        """What is known of an object."""
        try:
            with _explained():
                facts = await self._timely(self._connected().head_async(self.check(key)))
        except NotFound:
            return None
        return ObjectFacts(key, facts["size"], facts["last_modified"].timestamp())

    async def delete(self, key: str) -> None:
        """Let go of an object."""
        try:
            with _explained():
                await self._timely(self._connected().delete_async(self.check(key)))
        except NotFound:
            return

    async def list(self, prefix: str) -> AsyncGenerator[ObjectFacts]:
        """The objects whose keys begin with a prefix, as the storage sorts them."""
        # Its types leave open what it lists.
        client: Any = self._connected()
        pages = aiter(client.list(check_prefix(prefix), chunk_size=_PAGE))
        while True:
            with _explained():
                page = await self._timely(_next_of(pages))
            if page is None:
                return
            for each in page:
                yield ObjectFacts(each["path"], each["size"], each["last_modified"].timestamp())

    def _connected(self) -> Client:
        if self._client is None:
            with _explained():
                self._client = self.connect()
        return self._client

    async def _timely(self, asked: Awaitable[Result]) -> Result:
        async with asyncio.timeout(self._seconds):
            return await asked


async def _next_of(pages: AsyncIterator[Result]) -> Result | None:
    return await anext(pages, None)


class _Upload:
    """What comes, counted on its way past."""

    def __init__(self, content: AsyncIterable[bytes]) -> None:
        self._content = aiter(content)
        self.digest = hashlib.sha256()
        self.size = 0
        self.over = False
        self.failure: BaseException | None = None
        """What the content raised."""

    async def beginning(self) -> bytes:
        """As much as goes up in one request; `over` says whether that was all."""
        return await self._gather(_WHOLE)

    async def parts(self, beginning: bytes) -> AsyncGenerator[bytes]:
        """All of it, in pieces that are worth a call."""
        yield beginning
        while not self.over:
            piece = await self._gather(_PART)
            if piece:
                yield piece

    async def _gather(self, least: int) -> bytes:
        """At least so much, unless it is over."""
        pieces: list[bytes] = []
        length = 0
        try:
            while length < least:
                piece = await anext(self._content, None)
                if piece is None:
                    self.over = True
                    break
                pieces.append(piece)
                length += len(piece)
        except BaseException as error:
            self.failure = error
            raise
        whole = b"".join(pieces)
        await asyncio.to_thread(self.digest.update, whole)
        self.size += length
        return whole


@contextmanager
def _explained() -> Generator[None]:
    """What goes wrong at the storage, in our words."""
    try:
        yield
    except PolyforgeError:
        raise
    except FileNotFoundError:
        raise NotFound("there is no such object") from None
    except TimeoutError as error:
        raise Unavailable("the storage of objects did not answer in time", retry_after=5.0) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise Unavailable("the storage of objects refuses our credentials; look at `objects`") from error
    except exceptions.BaseError as error:
        raise Unavailable(f"the storage of objects does not work: {_beginning(error)}", retry_after=5.0) from error


def _beginning(error: Exception) -> str:
    """The first line: the others repeat the configuration."""
    return str(error).strip().partition("\n")[0][:200]
