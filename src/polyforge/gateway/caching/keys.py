"""What makes two requests the same: everything that can change the answer, and nothing else.

A key begins with the project and the model, so that either can be cleared, and a request never finds what another
project was told. The rest is a hash, of which a body in JSON counts by what it says, not by how it is written.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from polyforge.dialects.multipart import is_form, read_form
from polyforge.dialects.parameters import HINTS
from polyforge.gateway.job import Job
from polyforge.kernel.errors import PolyforgeError
from polyforge.registry.caching import CacheRules

LARGE: Final = 64 * 1024
"""Bytes from which on a body is hashed in a thread."""
_DIGEST: Final = 20
_MODELS: Final = 1000
_TRAVEL: Final = frozenset({"model", "stream", "stream_options"}) | HINTS
"""Fields that say how the answer travels, for whom it is, or what stands in the key anyway."""
_TRACE: Final = "traceparent"
_read: Final = msgspec.json.Decoder(dict[str, Any]).decode
_writer: Final = msgspec.json.Encoder(order="sorted")
_pack: Final = msgspec.msgpack.Encoder(order="sorted").encode


def project_prefix(project_id: str) -> str:
    """What every key of a project begins with."""
    return f"{project_id}:"


def model_prefix(project_id: str, model: str) -> str:
    """What every key of a model begins with, in one project."""
    return f"{project_id}:{_model_digest(model)}:"


@lru_cache(maxsize=_MODELS)
def _model_digest(model: str) -> str:
    return blake2b(model.encode(), digest_size=8).hexdigest()


def exact_key(job: Job, rules: CacheRules, path: str) -> str | None:
    """The key of a job on a path of the server; None where its body is not one that can be compared."""
    request = job.request
    content = canonical(request.body, _TRAVEL)
    if content is None:
        return None
    if job.wish is not None or (job.headers and _headers(job)):
        return keyed(job, "e", _around(job, rules, path, request.dialect), content)
    owner = job.caller.key_id if rules.partition == "key" else ""
    prefix, begun = _begun(job.caller.project_id, request.model, path, request.task, request.dialect, rules.tag, owner)
    digest = begun.copy()
    digest.update(content)
    return prefix + digest.hexdigest()


@lru_cache(maxsize=_MODELS)
def _begun(
    project_id: str, model: str, path: str, task: str, dialect: str, tag: bytes, owner: str
) -> "tuple[str, blake2b]":
    """The prefix of a key, and the digest that its hash goes on from, where nothing but the body is particular."""
    part = _pack((path, task, dialect, tag, owner, {}, None))
    digest = blake2b(digest_size=_DIGEST)
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)
    return f"{model_prefix(project_id, model)}e", digest


def rewritten_key(job: Job, rules: CacheRules, path: str) -> str | None:
    """The key of a job whose request a guardrail rewrote: what the model is told makes the answer.

    It may hold stand-ins, of which the answer holds some, and which nobody puts back who did not make the same.
    """
    content = canonical(job.request.body, _TRAVEL)
    if content is None:
        return None
    chat = _writer.encode(job.chat) if job.canonical else b""
    return keyed(job, "g", _around(job, rules, path, job.request.dialect), content, chat)


def keyed(job: Job, kind: str, *parts: bytes | bytearray) -> str:
    """A key of the job's project and model; `kind` is one letter."""
    digest = blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return model_prefix(job.caller.project_id, job.request.model) + kind + digest.hexdigest()


def _around(job: Job, rules: CacheRules, path: str, dialect: str) -> bytes:
    """What beside the body can change the answer, or who may share it."""
    wish = job.wish
    chosen = wish and (wish.provider, wish.region, wish.hardware, sorted(wish.tags), wish.strategy)
    return _pack((path, job.request.task, dialect, rules.tag, _owner(job, rules), _headers(job), chosen))


def _headers(job: Job) -> dict[str, str]:
    """What of the caller's headers goes on to the provider, and is not new with each request."""
    return {name: value for name, value in job.headers.items() if name != _TRACE} if job.headers else {}


def _owner(job: Job, rules: CacheRules) -> str:
    """Whose alone the answer is, beside the project's."""
    return job.caller.key_id if rules.partition == "key" else ""


def around(job: Job, rules: CacheRules) -> bytes:
    """The same for requests that are compared in canonical form, whatever path and dialect they came in."""
    return _around(job, rules, "", "")


def canonical(body: bytes, left_out: frozenset[str] = frozenset()) -> bytes | bytearray | None:
    """What a body says, however it is written; None where it cannot be told. Of the outermost fields some may be
    `left_out`.
    """
    if is_form(body):
        return _canonical_form(body, left_out)
    try:
        fields = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for name in left_out.intersection(fields):
        del fields[name]
    # As large as it gets: one that grows leaves memory behind in pieces that fit nothing else.
    written = bytearray(len(body))
    _writer.encode_into(fields, written)
    return written


def _canonical_form(body: bytes, left_out: frozenset[str]) -> bytes | None:
    """A form by its fields, whose boundary is another one each time."""
    try:
        form = read_form(body)
    except PolyforgeError:
        return None
    view = memoryview(body)
    fields = [
        (part.name, part.is_file, part.plain, view[part.start : part.end])
        for part in form.parts
        if part.name not in left_out
    ]
    return _pack(fields)
