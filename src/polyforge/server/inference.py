"""The inference paths: plain ASGI, in front of the framework, because its routing alone costs more than a whole call.

Hops 1 to 3 of a request happen here (server, tenancy, dialect); the rest is the gateway's.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from time import perf_counter_ns
from typing import Final

from polyforge.dialects import openai_embeddings
from polyforge.dialects.writing import Answering, FailureWriter, StreamWriter
from polyforge.gateway.caching.lookup import CACHE_HEADER, OUTCOMES
from polyforge.gateway.caching.service import AnswerCache
from polyforge.gateway.job import Job
from polyforge.gateway.lineup import Lineup, Lineups
from polyforge.gateway.settings import GatewaySettings
from polyforge.gateway.tags import TAGS_HEADER, read_tags
from polyforge.gateway.wishes import ROUTE_HEADER, read_wish
from polyforge.kernel.chat import ChatResult
from polyforge.kernel.errors import Denied, Invalid, ModelNotFound, PolyforgeError, Unauthenticated, UpstreamFailed
from polyforge.kernel.hidden import Hidden
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import to_usd
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.ports.provider import KEY_HEADER
from polyforge.ports.tracing import Tracer
from polyforge.registry.catalog import Model
from polyforge.server.authentication import Authentication
from polyforge.server.endpoints import ENDPOINTS, Endpoint
from polyforge.server.errors import opaque
from polyforge.server.exchange import Exchange, Observer
from polyforge.server.http import (
    HeaderMap,
    Presence,
    RawHeaders,
    Receive,
    Scope,
    Send,
    declared_length,
    first_values,
    overhead_header,
    read_body,
    send_whole,
)
from polyforge.server.idempotent import Replayed, begin
from polyforge.server.payloads import Payloads
from polyforge.server.refusals import Refusals
from polyforge.server.responses import Conversations
from polyforge.telemetry.hops import Hops
from polyforge.telemetry.logs import get_logger
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.idempotency.service import KEY_HEADER as ONCE_HEADER
from polyforge.tenancy.idempotency.service import Idempotency
from polyforge.tenancy.key_cache import KeyCache
from polyforge.tenancy.people.tokens.access import TOKEN_MARK
from polyforge.tenancy.people.tokens.callers import TokenCallers
from polyforge.tenancy.policy import authorize

_CLIENT_CLOSED: Final = 499
_LONG_RESULT_BYTES: Final = 256 * 1024
_KEY_HEADER: Final = KEY_HEADER.encode()
_ONCE_HEADER: Final = ONCE_HEADER.encode()
_ROUTE_HEADER: Final = ROUTE_HEADER.encode()
_CACHE_HEADER: Final = CACHE_HEADER.encode()
_OUTCOMES: Final = {outcome: (_CACHE_HEADER, outcome.encode()) for outcome in OUTCOMES}
_TAGS_HEADER: Final = TAGS_HEADER.encode()
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,512}")
_FORWARDED: Final = re.compile(rb"[\x20-\x7e]{1,2000}")
_COST_HEADER: Final = b"x-polyforge-cost-usd"
_ESTIMATED: Final = (b"x-polyforge-estimated", b"true")
_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_log = get_logger(__name__)


class Inference:
    """Answers the inference paths."""

    def __init__(
        self,
        settings: GatewaySettings,
        keys: KeyCache,
        tokens: TokenCallers,
        authentication: Authentication,
        lineups: Lineups,
        observer: Observer,
        tracer: Tracer,
        conversations: Conversations,
        answers: AnswerCache,
        idempotency: Idempotency,
        refusals: Refusals,
        payloads: Payloads,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._tokens = tokens
        self._authentication = authentication
        self._lineups = lineups
        self._observer = observer
        self._tracer = tracer
        self._conversations = conversations
        self._answers = answers
        self._idempotency = idempotency
        self._refusals = refusals
        self._payloads = payloads
        self.endpoints: Mapping[str, Endpoint] = {endpoint.path: endpoint for endpoint in ENDPOINTS}

    async def __call__(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; observe it however it ends."""
        exchange = Exchange(new_ulid(), scope["method"], endpoint.path, Hops())
        self._observer.begun()
        presence: Presence | None = None
        lineup = self._lineups.current
        lineup.calls += 1
        try:
            job = await self._read(endpoint, exchange, lineup, scope, receive)
            presence = Presence(scope)
            if exchange.once is not None or self._payloads.any:
                send = await self._watched(endpoint, exchange, job, send)
            if job.model.cache is not None and endpoint.estimate is None:
                self._answers.prepare(job, job.model.cache, endpoint.path, exchange.headers)
            await self._answer(endpoint, exchange, job, lineup, presence, send)
        except Replayed as again:
            lineup.gateway.settle_again(again.job, exchange.status)
        except PolyforgeError as error:
            await self._refuse(endpoint, exchange, error, send)
        except asyncio.CancelledError:
            exchange.status = _CLIENT_CLOSED
            if presence is None or not presence.left:
                raise
        except Exception:  # noqa: BLE001 - whatever it was, the caller gets an opaque 500
            _log.exception("request failed", request_id=exchange.id, path=exchange.path)
            await self._refuse(endpoint, exchange, opaque(), send)
        finally:
            lineup.calls -= 1
            if presence is not None:
                presence.end()
            if exchange.keeping is not None or exchange.gathering is not None:
                await _leave(exchange)
            self._observer.finished(exchange)

    async def _watched(self, endpoint: Endpoint, exchange: Exchange, job: Job, send: Send) -> Send:
        """What to send an answer through that is kept, under its key or for its words."""
        if exchange.once is not None:
            send = exchange.keeping = await begin(self._idempotency, exchange, job, exchange.once, send)
        if not self._payloads.any:
            return send
        return self._payloads.watch(endpoint, exchange, job, exchange.headers, send)

    def _answer(
        self, endpoint: Endpoint, exchange: Exchange, job: Job, lineup: Lineup, presence: Presence, send: Send
    ) -> Awaitable[None]:
        """The answer in the form that was asked for."""
        if endpoint.estimate is not None:
            return self._count(endpoint, endpoint.estimate, exchange, job, lineup, presence, send)
        if job.request.stream:
            return self._stream(endpoint, exchange, job, lineup, presence, send)
        return self._complete(endpoint, exchange, job, lineup, presence, send)

    async def _read(
        self, endpoint: Endpoint, exchange: Exchange, lineup: Lineup, scope: Scope, receive: Receive
    ) -> Job:
        headers = exchange.headers = first_values(scope["headers"])
        exchange.once = headers.get(_ONCE_HEADER) if endpoint.once else None
        marks = exchange.hops.marks
        limit = endpoint.max_bytes or self._settings.max_body_bytes
        declared_length(headers, limit)
        marks.append(perf_counter_ns())
        exchange.caller = caller = await self._authenticate(endpoint, headers, scope)
        marks.append(perf_counter_ns())
        provider_key = self._provider_key(headers)
        exchange.asked = request = endpoint.decode(await read_body(receive, limit))
        if not request.model:
            request.model = self._default_model(caller, lineup)
        model = await self._model(endpoint, lineup, caller, request)
        if request.recalls:
            request = await self._conversations.recall(caller, request)
        if request.keeps:
            request.keeps = self._conversations.keeps
        if provider_key is not None:
            model = model.with_callers_key()
        now = time.time()
        job = Job(
            exchange.id,
            caller,
            request,
            model,
            exchange.hops,
            now,
            asyncio.get_running_loop().time() + self._settings.timeouts.request,
        )
        job.trace = self._tracer.begin(headers.get(b"traceparent"))
        if job.trace is not None:
            job.headers["traceparent"] = job.trace.traceparent()
        for name in endpoint.forwarded:
            _forward(name, headers, job)
        job.provider_key = provider_key
        job.path = endpoint.path
        self._read_wish(job, headers)
        job.tags = _tags(headers)
        job.read_chat = endpoint.read_chat
        job.examine = endpoint.examine
        if endpoint.open_stream is not None and request.stream:
            job.open_writer = partial(_open_stream, endpoint.open_stream)
        exchange.job = job
        marks.append(perf_counter_ns())
        return job

    async def _model(self, endpoint: Endpoint, lineup: Lineup, caller: Caller, request: InferenceRequest) -> Model:
        """The model that a request is for; ModelNotFound, or Invalid where it does something else."""
        if not caller.may_use(request.model):
            raise ModelNotFound(
                f"there is no model {request.model!r}; GET /v1/models lists those you may use", param="model"
            )
        if endpoint.choose is None:
            model = lineup.catalog.find(request.model, caller.project_id)
        else:
            model = await endpoint.choose(lineup, caller, request)
        # Limits and usage are those of the model, however its version was named.
        request.model = model.name
        if not model.does(endpoint.model_task or request.task):
            raise Invalid(f"the model {request.model!r} does {model.task}, not {request.task}", param="model")
        return model

    def _default_model(self, caller: Caller, lineup: Lineup) -> str:
        """The model of a request that may leave it out, and does; Invalid where there is none."""
        if self._settings.code_model is not None:
            return self._settings.code_model
        for model in lineup.catalog.listed():
            if model.task == "chat" and not model.any_task and caller.may_use(model.name):
                return model.name
        raise Invalid("name a model: there is no chat model to take by default", param="model")

    async def _authenticate(self, endpoint: Endpoint, headers: HeaderMap, scope: Scope) -> Caller:
        token = endpoint.credential(headers)
        if token is None and endpoint.people:
            caller = await self._authentication.caller(scope)
            authorize(caller, "inference")
            return caller
        if token is None:
            raise Unauthenticated("no API key; send it as `Authorization: Bearer pf-...`")
        known = self._tokens if token.startswith(TOKEN_MARK) else self._keys
        caller = known.lookup(token) or await known.resolve(token)
        authorize(caller, "inference")
        return caller

    def _provider_key(self, headers: HeaderMap) -> Hidden | None:
        """The key of the caller's own account at the provider, if it brought one; Denied where that is not allowed."""
        key = headers.get(_KEY_HEADER)
        if key is None:
            return None
        if self._settings.caller_keys == "refuse":
            raise Denied(f"this gateway takes no keys of callers; leave {KEY_HEADER} out", param=KEY_HEADER)
        if not _KEY.fullmatch(key):
            raise Invalid(f"{KEY_HEADER} must be 1 to 512 printable ASCII characters", param=KEY_HEADER)
        return Hidden(key.decode())

    def _read_wish(self, job: Job, headers: HeaderMap) -> None:
        """What the caller wants of the deployment that answers, if it says so."""
        asked = headers.get(_ROUTE_HEADER)
        if asked is not None:
            job.asked_route = asked.decode("latin-1")
            job.wish = read_wish(job.asked_route, self._settings.route_overrides)

    async def _complete(
        self, endpoint: Endpoint, exchange: Exchange, job: Job, lineup: Lineup, presence: Presence, send: Send
    ) -> None:
        reply = await lineup.gateway.complete(job)
        body = reply.body if reply.result is None else await _write(endpoint, reply.result, job)
        presence.end()
        if job.request.keeps and body is not None:
            body = await self._conversations.keep(job, body)
        exchange.status = 200
        headers = [(b"content-type", reply.media_type), *reply.headers, *_own_headers(endpoint, job)]
        await send_whole(send, 200, headers, body)

    async def _count(
        self,
        endpoint: Endpoint,
        estimate: Callable[[bytes], bytes],
        exchange: Exchange,
        job: Job,
        lineup: Lineup,
        presence: Presence,
        send: Send,
    ) -> None:
        """The tokens of a request, from a provider that counts them; else an estimate, which says so."""
        counting = lineup.counting(job.model, job.request)
        if counting is not None:
            job.model = counting
            await self._complete(endpoint, exchange, job, lineup, presence, send)
            return
        body = await asyncio.to_thread(estimate, job.request.body)
        presence.end()
        exchange.status = 200
        headers = [(b"content-type", b"application/json"), _ESTIMATED, *_own_headers(endpoint, job)]
        await send_whole(send, 200, headers, body)

    async def _stream(
        self, endpoint: Endpoint, exchange: Exchange, job: Job, lineup: Lineup, presence: Presence, send: Send
    ) -> None:
        async with aclosing(lineup.gateway.stream(job)) as frames:
            try:
                async for data, last in frames:
                    if exchange.status == 0:
                        exchange.status = 200
                        headers = [*_stream_headers(endpoint, job), *_own_headers(endpoint, job)]
                        await send({"type": "http.response.start", "status": 200, "headers": headers})
                    if last:
                        presence.end()
                    end = last and job.request.keeps
                    sent = await self._conversations.keep_streamed(job, data) if end else data
                    await send({"type": "http.response.body", "body": sent, "more_body": not last})
            except PolyforgeError as error:
                if exchange.status == 0:
                    raise
                exchange.error = error.code
                await _send_late_error(endpoint, error, exchange, job, presence, send)

    async def _refuse(self, endpoint: Endpoint, exchange: Exchange, error: PolyforgeError, send: Send) -> None:
        if exchange.status != 0:
            _log.error("an answer broke off", request_id=exchange.id, code=error.code)
            raise error
        exchange.error = error.code
        rendered = endpoint.render(error, exchange.id)
        exchange.status = rendered.status
        headers = [*rendered.headers, overhead_header(exchange.hops)]
        if exchange.job is not None:
            headers += _limits(exchange.job)
            _add_cache(headers, exchange.job)
        self._refusals.write(exchange, error)
        await send_whole(send, rendered.status, headers, rendered.body)


async def _leave(exchange: Exchange) -> None:
    """Tell what watched the answer that it is over."""
    if exchange.gathering is not None:
        exchange.gathering.leave()
    if exchange.keeping is not None:
        await exchange.keeping.leave()


async def _send_late_error(
    endpoint: Endpoint, error: PolyforgeError, exchange: Exchange, job: Job, presence: Presence, send: Send
) -> None:
    """After the first byte the status is gone: the error is an event, and no `[DONE]` follows it.

    What is no stream of events is left unfinished, so that the connection breaks off.
    """
    presence.end()
    if job.media_type:
        return
    body, writer = endpoint.render(error, exchange.id).body, job.writer
    frame = writer.fail(body) if isinstance(writer, FailureWriter) else endpoint.late_error(body)
    await send({"type": "http.response.body", "body": frame, "more_body": False})


def _stream_headers(endpoint: Endpoint, job: Job) -> RawHeaders:
    """Of server-sent events; or of something else, which an error may end only by breaking the connection."""
    kind = job.media_type or endpoint.stream_type
    return [(b"content-type", kind), *_STREAM_HEADERS[1:]] if kind else [*_STREAM_HEADERS]


def _answering(job: Job) -> Answering:
    request = job.request
    place = job.attempts[-1].deployment if job.attempts and job.caller.may("models:read") else None
    return Answering(
        job.id,
        request.model,
        int(job.started_at),
        request.wants_usage,
        asked=request.body,
        keeps=request.keeps,
        used=job.usage if job.settled else None,
        price=job.price if job.settled else None,
        provider=place.provider if place else None,
        deployment=place.model if place else None,
    )


def _open_stream(open_stream: Callable[[Answering], StreamWriter], job: Job) -> StreamWriter:
    return open_stream(_answering(job))


async def _write(endpoint: Endpoint, result: EmbeddingResult | ChatResult, job: Job) -> bytes:
    """A canonical answer in the caller's dialect."""
    if isinstance(result, ChatResult):
        if endpoint.write is None:
            raise UpstreamFailed("the provider's answer cannot be written in this dialect")
        return endpoint.write(result, _answering(job))
    encode = partial(openai_embeddings.encode_embeddings, result, job.request.model, job.request.encoding)
    return await asyncio.to_thread(encode) if memoryview(result.data).nbytes > _LONG_RESULT_BYTES else encode()


def _tags(headers: HeaderMap) -> tuple[str, ...]:
    """What the caller labels the call with."""
    said = headers.get(_TAGS_HEADER)
    return () if said is None else read_tags(said.decode("latin-1"))


def _forward(name: bytes, headers: HeaderMap, job: Job) -> None:
    """Have a header of the caller sent upstream too; Invalid where it is no text."""
    value = headers.get(name)
    if value is None:
        return
    if not _FORWARDED.fullmatch(value):
        raise Invalid(f"{name.decode()} must be 1 to 2000 printable ASCII characters", param=name.decode())
    job.headers[name.decode()] = value.decode()


def _own_headers(endpoint: Endpoint, job: Job) -> RawHeaders:
    request_id = job.id.encode()
    headers = [(name, request_id) for name in endpoint.id_headers]
    headers.append(overhead_header(job.hops))
    headers += _limits(job)
    if endpoint.people and job.settled:
        headers.append((_COST_HEADER, b"%.6f" % to_usd(job.price)))
    _add_cache(headers, job)
    if job.dropped:
        headers.append((b"x-polyforge-dropped", ",".join(job.dropped).encode("latin-1", "replace")))
    return headers


def _add_cache(headers: RawHeaders, job: Job) -> None:
    """Say what came of looking for an answer that was kept, where the model has a cache."""
    lookup = job.lookup
    if lookup is None:
        return
    headers.append(_OUTCOMES[lookup.outcome])
    if job.cached:
        headers.append((b"age", b"%d" % lookup.age))


def _limits(job: Job) -> RawHeaders:
    """What the nearest limits on requests and tokens are, and what is left of them."""
    room, limits = job.headroom, job.caller.limits
    headers: RawHeaders = []
    if room is None:
        return headers
    if room.requests is not None:
        headers.append((b"x-ratelimit-limit-requests", b"%d" % (room.request_limit or limits.rpm or 0)))
        headers.append((b"x-ratelimit-remaining-requests", b"%d" % room.requests))
        headers.append((b"x-ratelimit-reset-requests", b"%.3fs" % room.reset))
    if room.tokens is not None:
        headers.append((b"x-ratelimit-limit-tokens", b"%d" % (room.token_limit or limits.tpm or 0)))
        headers.append((b"x-ratelimit-remaining-tokens", b"%d" % max(0, room.tokens)))
        headers.append((b"x-ratelimit-reset-tokens", b"%.3fs" % (room.token_reset or room.reset)))
    return headers
