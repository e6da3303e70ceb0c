"""Models that other servers compute: where they are, who we are to them, and calls from threads that may wait.

A backend is called from threads and our HTTP client lives on an event loop, so each remote model has a loop of its own
in a thread of its own; all that its other threads do is wait.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from threading import Thread
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.egress.addresses import HttpBase
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, Unavailable, UpstreamFailed
from polyforge.kernel.tensors import Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef

MAX_TENSORS = 1024
_T = TypeVar("_T")


class RemoteSettings(BaseModel):
    """Where a model is served, and how it is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: HttpBase = Field(description="The server, without the paths of its protocol.")
    model: str = Field(min_length=1, max_length=256, description="The model's name there.")
    version: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,18}$",
        description="Its version there; default: the one that the server picks.",
    )
    key: SecretRef | None = Field(default=None, description="Sent with each call, as `Authorization: Bearer`.")
    key_header: str = Field(
        default="authorization",
        pattern=r"^[a-z0-9-]{1,64}$",
        description="The header for `key`; any other than `authorization` carries the key alone.",
    )
    instances: int = Field(default=16, ge=1, le=256, description="Calls under way at once.")
    answer_seconds: float = Field(default=30.0, gt=0, le=3600, description="How long one call may take.")
    max_response_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, le=1 << 31, description="The largest answer that is taken."
    )

    @field_validator("url")
    @classmethod
    def _without_user(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("must not have a user in it; use `key`")
        return url.rstrip("/")


_S = TypeVar("_S", bound=RemoteSettings)


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to turn; nothing is done when it already does."""
        if self._loop is not None:
            return
        loop = asyncio.new_event_loop()
        self._loop, self._thread = loop, Thread(target=_turn, args=(loop,), name="remote-model", daemon=True)
        self._thread.start()

    def wait_for(self, call: Coroutine[Any, Any, _T]) -> _T:
        """What a coroutine returns or raises, computed on the loop while this thread waits; it must end by itself."""
        if self._loop is None:
            call.close()
            raise RuntimeError("the model is not loaded")
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def stop(self) -> None:
        """End the loop; nothing may be on its way."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


class Description(NamedTuple):
    """What a server says of a model."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class RemoteModel(ABC, Generic[_S]):
    """One model of one server. Of which protocol it speaks, subclasses know; its first words make the signature."""

    note: ClassVar[str]

    def __init__(self, settings: _S) -> None:
        self._settings = settings
        self._loop = LoopThread()
        self._client: OipClient | None = None
        self._signature: Signature | None = None
        self._secrets = FollowedSecrets(settings.key)

    def use_secrets(self, source: SecretSource) -> None:
        """Ask there for a key that is `secret:name`, anew with each call."""
        self._secrets.open(source)

    def _headers(self) -> Mapping[str, str]:
        """What says who we are; SettingsError, Unavailable or NotConfigured when the key cannot be had."""
        settings = self._settings
        if settings.key is None:
            return {}
        key = self._secrets.reveal(settings.key)
        return {settings.key_header: f"Bearer {key}" if settings.key_header == "authorization" else key}

    @abstractmethod
    async def _describe(self, client: OipClient) -> Description:
        """What the model takes and gives; Invalid for one that cannot be called so, else errors of calls."""

    @abstractmethod
    async def _ask(self, client: OipClient, request: ModelRequest) -> Outputs:
        """The answer to one request."""

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    def load(self) -> None:
        """Ask the server; Unavailable, TimedOut or UpstreamFailed as it answers, Invalid for what cannot be served."""
        settings = self._settings
        self._client = OipClient(
            base_url=settings.url, max_connections=settings.instances, max_response_bytes=settings.max_response_bytes
        )
        self._loop.start()
        try:
            found = self._loop.wait_for(self._describe(self._client))
            _check_specs(found.inputs, found.outputs)
        except BaseException:
            self.close()
            raise
        self._signature = Signature(
            platform=found.platform,
            inputs=found.inputs,
            outputs=found.outputs,
            batch_rows=rows_of(found.inputs, found.outputs),
            instances=settings.instances,
            elsewhere=True,
            notes=(self.note,),
        )

    def warm_up(self) -> None:
        """Ask once more, so that there is a connection."""
        if self._client is not None:
            self._loop.wait_for(self._describe(self._client))

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """What the server answers to every request, or what it says is wrong with it."""
        client = self._client
        if client is None:
            raise RuntimeError("the model is not loaded")
        return self._loop.wait_for(_together([self._ask(client, request) for request in batch]))

    def close(self) -> None:
        """Hang up."""
        self._secrets.close()
        client, self._client = self._client, None
        if client is not None:
            self._loop.wait_for(client.close())
            self._loop.stop()


def not_there(error: ModelNotFound) -> Unavailable:
    """Our caller named a model that is here; that its server does not have it is none of his doing, and may pass."""
    return Unavailable(f"the model is not on its server: {error.message}")


def rows_of(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> int:
    """1 when first dimensions may count rows, 0 when they cannot; requests are sent as they come either way."""
    return int(all(spec.shape[:1] == (-1,) for spec in (*inputs, *outputs)))


def in_order(outputs: tuple[TensorSpec, ...], given: Mapping[str, Tensor]) -> Outputs:
    """The answer as the signature has it; UpstreamFailed when it is another."""
    for spec in outputs:
        if spec.name not in given or given[spec.name].datatype != spec.datatype:
            raise UpstreamFailed(f"the model server did not answer with {spec.datatype} '{spec.name}', as it declares")
    return tuple(given[spec.name] for spec in outputs)


async def _together(calls: list[Coroutine[Any, Any, Outputs]]) -> list[Outputs | PolyforgeError]:
    """The answers to several calls at once; the error of one is its answer."""
    answers: list[Outputs | PolyforgeError] = []
    for found in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(found, BaseException) and not isinstance(found, PolyforgeError):
            raise found
        answers.append(found)
    return answers


def _check_specs(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Invalid when a server's model cannot be served by another."""
    if not inputs or not outputs:
        raise Invalid("the model there has no inputs or no outputs")
    for specs in (inputs, outputs):
        if len(specs) > MAX_TENSORS or len({spec.name for spec in specs}) != len(specs):
            raise Invalid(f"the model there has more than {MAX_TENSORS} inputs or outputs, or two of one name")


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
