"""A call of an API."""

import codecs
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, port, with_holes
from polyforge.flows.running.contract import HttpAnswer, NodeCall, Outputs
from polyforge.flows.templates import Hole, fill, names_in, parse_template
from polyforge.flows.urls import EVERYWHERE, check_address, host_of
from polyforge.kernel.errors import Invalid, UpstreamFailed, UpstreamRefused
from polyforge.kernel.retry_after import read_retry_after

_BYTES: Final = 1 << 20
_SECONDS: Final = 3_600.0
"""What the policy of the node says is shorter."""
_KEY: Final = "idempotency-key"
_KEPT: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "accept-encoding",
    }
)
"""Headers that are the client's own."""
_GOOD: Final = range(200, 300)
_MOVED: Final = range(300, 400)
_PASSING: Final = frozenset({408, 425, 429})
"""Statuses below 500 after which another try may do better."""
_UTF_8: Final = "utf-8"
_ENCODINGS: Final = re.compile(
    r"ascii|utf-(8|8-sig|16|16-le|16-be|32|32-le|32-be)|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|big5|big5hkscs|gb2312|gbk"
    r"|gb18030|euc_(jp|kr|jis_2004|jisx0213)|shift_jis(_2004|x0213)?|iso2022_(jp|kr)\w*|johab|tis-620"
)
"""As Python calls them."""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_PORTS = Ports(
    {"body": port("json", "Body, sent as JSON", required=False)},
    {
        "status": port("number", "Status"),
        "body": port("json", "Body of the answer, where it is JSON"),
        "text": port("text", "Body of the answer as text"),
        "headers": port("json", "Headers of the answer"),
    },
)


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    given = params.get("headers", {}).values()
    headers = [value for value in given if isinstance(value, str)]
    if host_of(params["url"]) == EVERYWHERE and ("bearer" in params or len(headers) < len(given)):
        raise ValueError("a secret is sent to a host that is written out, or whoever gives the input would get it")
    texts = (params["url"], params.get("text", ""), *headers)
    return with_holes(_PORTS, (name for text in texts for name in names_in(text)))


NODE = NodeType(
    type="http.request",
    v=1,
    title="HTTP request",
    description="Calls an address, with an Idempotency-Key that stays the same when the step is repeated. Private "
    "networks are refused unless the operator allows them.",
    category="data",
    params=fields.parameters(
        ("url",),
        method=fields.choice("Method", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", default="GET"),
        url=fields.text(
            "Address", "With `{{name}}` for inputs, after the host.", least=1, most=4_000,
            marks={"x-template": True, "x-url": True},
        ),
        headers=fields.headers("Headers", fields.either("Value", fields.template("Text"), fields.secret("Secret"))),
        bearer=fields.secret("Bearer token", "Sent as `Authorization: Bearer ...`."),
        text=fields.template("Body as text", "Instead of the input `body`."),
        accept=fields.many(
            fields.whole("Status", least=100, most=599), "Statuses that are no errors", "Left out: 200 to 299.", most=20
        ),
        max_bytes=fields.whole("Longest answer", "In bytes.", least=1, most=16 << 20, default=_BYTES),
    ),
    ports=_ports,
    capabilities=("net",),
    effect="once",
)  # fmt: skip


async def run(call: NodeCall) -> Outputs:
    """Call the address once; other tries are the policy's."""
    url, headers = _url(call), await _headers(call)
    body = _body(call, headers)
    answer = await call.facilities.http.request(
        call.params.get("method", "GET"),
        url,
        headers,
        body,
        timeout_seconds=_SECONDS,
        max_bytes=call.params.get("max_bytes", _BYTES),
    )
    _check(call, answer, host_of(url))
    return _outputs(answer)


def _url(call: NodeCall) -> str:
    """The address: what is put in is one part of it, and can neither add parts nor lead elsewhere.

    An address that begins with an input is that input; where it may lead is for who calls it to say.
    """
    template: str = call.params["url"]
    pieces = parse_template(template)
    begin, rest = "", template
    if pieces and isinstance(pieces[0], Hole):
        begin, rest = str(call.inputs.get(pieces[0].name, "")), template.partition("}}")[2]
    url = begin + fill(rest, call.inputs, _quoted)
    try:
        check_address(url)
    except ValueError as error:
        raise Invalid(f"the address cannot be called: {error}", param="url") from error
    return url


def _quoted(value: str) -> str:
    if value in (".", ".."):
        raise Invalid("an input of an address is `.` or `..`, which would lead to another one", param="url")
    return quote(value, safe="", errors="replace")


async def _headers(call: NodeCall) -> dict[str, str]:
    """What is sent, by lower-case name; with the same key whenever this step is repeated."""
    headers = {_KEY: call.idempotency_key}
    for name, said in call.params.get("headers", {}).items():
        if name.lower() in _KEPT:
            raise Invalid(f"the header {name!r} cannot be set; leave it out", param="headers")
        headers[name.lower()] = await _header(call, said)
    if "bearer" in call.params:
        token = await call.facilities.secrets.get(call.caller, call.params["bearer"]["$secret"])
        headers["authorization"] = f"Bearer {token}"
    for name, value in headers.items():
        if not all(" " <= character <= "~" or character == "\t" for character in value):
            raise Invalid(f"the header {name!r} has characters that a header cannot have", param="headers")
    return headers


async def _header(call: NodeCall, said: str | Mapping[str, Any]) -> str:
    if isinstance(said, str):
        return fill(said, call.inputs)
    return await call.facilities.secrets.get(call.caller, said["$secret"])


def _body(call: NodeCall, headers: dict[str, str]) -> bytes | None:
    if "text" in call.params:
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return fill(call.params["text"], call.inputs).encode(errors="replace")
    if "body" in call.inputs:
        headers.setdefault("content-type", "application/json")
        return _encode(call.inputs["body"])
    return None


def _check(call: NodeCall, answer: HttpAnswer, host: str) -> None:
    """Nothing for a status that is no error."""
    status = answer.status
    if status in call.params.get("accept", _GOOD):
        return
    call.log("warning", f"{host} answered {status}")
    if status in _MOVED:
        raise UpstreamRefused(
            f"{host} answered {status}; redirects are not followed, so write the address where it ends", status=502
        )
    if status in _PASSING or status not in range(400, 500):
        told = answer.headers.get("retry-after")
        raise UpstreamFailed(f"{host} answered {status}", retry_after=read_retry_after({"retry-after": told}.get))
    raise UpstreamRefused(f"{host} answered {status}; see what it wants, or list the status under `accept`", status=502)


def _outputs(answer: HttpAnswer) -> Outputs:
    text = _text(answer)
    outputs: dict[str, Any] = {"status": answer.status, "headers": dict(answer.headers), "text": text}
    try:
        outputs["body"] = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return outputs
    return outputs


def _text(answer: HttpAnswer) -> str:
    """In the encoding that the server names, if it is one of texts: others fail, or take the square of the length."""
    named = answer.headers.get("content-type", "").lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    try:
        encoding = codecs.lookup(named).name if named else _UTF_8
    except (LookupError, ValueError):
        encoding = _UTF_8
    return answer.body.decode(encoding if _ENCODINGS.fullmatch(encoding) else _UTF_8, errors="replace")
