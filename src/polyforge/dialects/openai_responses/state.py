"""Conversations that are kept: earlier answers put into a request, and what to keep of an answer.

An answer's id is `resp_` and a ULID, and its items carry the same ULID, so that an item alone tells where it is kept.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from polyforge.kernel.errors import Invalid, NotFound

PREFIX: Final = "resp_"
MOST_RECALLED: Final = 64
"""Earlier answers that one request may refer to."""
_ULID: Final = r"(?P<ulid>[0-9A-HJKMNP-TV-Z]{26})"
_RESPONSE_ID: Final = re.compile(PREFIX + _ULID)
_ITEM_ID: Final = re.compile(rf"[a-z]{{2,4}}_{_ULID}_i?\d{{1,6}}")
_ITEM_PREFIXES: Final = {"function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_NEXT_EVENT: Final = b"\n\nevent: "


class Kept(msgspec.Struct):
    """One answer, and the whole conversation that led to it, item by item."""

    input: list[msgspec.Raw]
    response: msgspec.Raw


class References(msgspec.Struct, frozen=True):
    """What a request refers to; answers are named by ULID."""

    previous: str | None
    items: Mapping[str, str]
    """The answer of each item, by the item's id."""

    @property
    def answers(self) -> frozenset[str]:
        """Every answer that is needed."""
        named = frozenset(self.items.values())
        return named if self.previous is None else named | {self.previous}


class _Item(msgspec.Struct):
    type: str | None = None
    id: str | None = None


class _Request(msgspec.Struct):
    input: str | list[msgspec.Raw] | None = None
    previous_response_id: str | None = None


class _Output(msgspec.Struct):
    output: list[msgspec.Raw]


class _Event(msgspec.Struct):
    type: str
    response: msgspec.Raw


_request: Final = msgspec.json.Decoder(_Request)
_item: Final = msgspec.json.Decoder(_Item)
_output: Final = msgspec.json.Decoder(_Output)
_event: Final = msgspec.json.Decoder(_Event)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


def ulid_of(response_id: str) -> str:
    """The ULID of an answer; NotFound when the id cannot be one of ours."""
    found = _RESPONSE_ID.fullmatch(response_id)
    if found is None:
        raise no_response(response_id)
    return found["ulid"]


def no_response(response_id: str, param: str | None = None) -> NotFound:
    """What is said of a response that is not there, or that is somebody else's."""
    return NotFound(f"there is no response {response_id[:60]!r}", param=param)


def _no_item(item_id: str) -> NotFound:
    return NotFound(f"there is no item {item_id[:60]!r}", param="input")


# Going on from earlier answers


def references_of(body: bytes) -> References:
    """What a request refers to; NotFound for what cannot be there, Invalid when it is too much."""
    wire = _request.decode(body)
    previous = None
    if wire.previous_response_id is not None:
        found = _RESPONSE_ID.fullmatch(wire.previous_response_id)
        if found is None:
            raise no_response(wire.previous_response_id, "previous_response_id")
        previous = found["ulid"]
    named = [item for item in _referring(_items(wire.input)) if item is not None]
    references = References(previous, {item_id: _answer_of(item_id) for item_id in named})
    if len(references.answers) > MOST_RECALLED:
        raise Invalid(f"input may refer to at most {MOST_RECALLED} earlier responses", param="input")
    return references


def _items(given: str | list[msgspec.Raw] | None) -> list[msgspec.Raw]:
    """The input as items, a text as the message that it stands for."""
    if isinstance(given, str):
        content = [{"type": "input_text", "text": given}]
        return [msgspec.Raw(_encode({"type": "message", "role": "user", "content": content}))]
    return given or []


def _referring(items: Iterable[msgspec.Raw]) -> Iterable[str | None]:
    """For each item the id that it refers to, None for one that stands for itself."""
    for raw in items:
        item = _item.decode(raw)
        yield (item.id or "") if item.type == "item_reference" else None


def _answer_of(item_id: str) -> str:
    found = _ITEM_ID.fullmatch(item_id)
    if found is None:
        raise _no_item(item_id)
    return found["ulid"]


def recalled(body: bytes, references: References, kept: Mapping[str, Kept]) -> bytes:
    """The request with everything that it refers to in its input; NotFound for what is not among `kept`."""
    fields = _fields.decode(body)
    own = _items(_request.decode(body).input)
    earlier: list[msgspec.Raw] = []
    if references.previous is not None:
        found = kept.get(references.previous)
        if found is None:
            raise no_response(PREFIX + references.previous, "previous_response_id")
        earlier = _conversation(found)
    by_id = _by_id(kept, references)
    for place, item_id in enumerate(_referring(own)):
        if item_id is not None:
            if item_id not in by_id:
                raise _no_item(item_id)
            own[place] = by_id[item_id]
    return _encode({**fields, "input": earlier + own})


def _conversation(kept: Kept) -> list[msgspec.Raw]:
    return kept.input + _output.decode(kept.response).output


def _by_id(kept: Mapping[str, Kept], references: References) -> dict[str, msgspec.Raw]:
    found: dict[str, msgspec.Raw] = {}
    for ulid in set(references.items.values()) & kept.keys():
        found |= {_item.decode(raw).id or "": raw for raw in _conversation(kept[ulid])}
    return found


# What is kept


def input_of(body: bytes, answer_id: str) -> list[msgspec.Raw]:
    """The items of a request's input as they are listed later: each with an id, contents as lists of parts."""
    items = _items(_request.decode(body).input)
    return [_named(_fields.decode(item), answer_id, place) for place, item in enumerate(items)]


def _named(item: dict[str, msgspec.Raw], answer_id: str, place: int) -> msgspec.Raw:
    kind: str = msgspec.json.decode(item.get("type", b"null")) or "message"
    fields: dict[str, Any] = {"type": kind, **item}
    if _absent(item.get("id")):
        fields["id"] = f"{_ITEM_PREFIXES.get(kind, 'msg')}_{answer_id}_i{place}"
    if _absent(item.get("status")) and kind != "reasoning":
        fields["status"] = "completed"
    content = item.get("content")
    if content is not None and bytes(content).startswith(b'"'):
        part = "output_text" if bytes(item.get("role", b"")) == b'"assistant"' else "input_text"
        fields["content"] = [{"type": part, "text": content}]
    return msgspec.Raw(_encode(fields))


def _absent(value: msgspec.Raw | None) -> bool:
    return value is None or bytes(value) == b"null"


def last_event(frames: bytes) -> tuple[bytes, bytes]:
    """What comes before the last event of a stream, and that event's data. Inside of events there is no blank line."""
    before, mark, last = frames.removesuffix(b"\n\n").rpartition(_NEXT_EVENT)
    head = before + b"\n\n" if mark else b""
    return head, last.partition(b"\ndata: ")[2]


def response_in(event: bytes) -> msgspec.Raw:
    """The whole response in the data of the event that ends a stream."""
    return _event.decode(event).response


def not_kept(response: bytes) -> bytes:
    """The response, saying that it was not kept."""
    return _encode({**_fields.decode(response), "store": False})


def ending_not_kept(head: bytes, event: bytes) -> bytes:
    """The end of a stream whose response could not be kept."""
    fields = _fields.decode(event)
    fields["response"] = msgspec.Raw(not_kept(bytes(fields["response"])))
    kind = msgspec.json.decode(fields["type"], type=str)
    return b"%bevent: %b\ndata: %b\n\n" % (head, kind.encode(), _encode(fields))
