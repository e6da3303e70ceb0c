"""Answers gone wrong: those of scripted providers, changed at random places."""

import dataclasses
import random
import re

from polyforge.dialects.aws_eventstream import MEDIA_TYPE, MessageSplitter
from tests.support.scripted.eventstream import message
from tests.support.scripted.scenarios import Played

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|\{\}|\[\]')
_STRANGE = (
    b"null",
    b"true",
    b"-1",
    b"0.5",
    b"1e400",
    b"9223372036854775808",
    b"1" * 400,
    b"NaN",
    b'""',
    b'"\xff"',
    b'"\\ud800"',
    b'"x"',
    b'"stop"',
    b'"' + b"x" * 70_000 + b'"',
    b"[]",
    b"{}",
    b"[[1]]",
    b"[{}]",
    b'[{"type":"text"}]',
    b'{"message":"x"}',
    b"[" * 2_000,
)


def spoiled(dice: random.Random, played: Played) -> Played:
    """The answer with one to three things wrong in it; its head and the framing of its messages stay right, mostly."""
    chunks = list(played.chunks)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(chunks))
        if MEDIA_TYPE in played.headers.get("content-type", "") and dice.random() < 0.9:
            chunks[place] = _spoil_messages(dice, chunks[place])
        else:
            chunks[place] = _spoil(dice, chunks[place])
    return dataclasses.replace(played, chunks=tuple(chunks))


def _spoil_messages(dice: random.Random, data: bytes) -> bytes:
    """One of AWS's messages changed, or left out, under a checksum that is right."""
    found = MessageSplitter().feed(data)
    if not found:
        return data
    place = dice.randrange(len(found))
    payloads = [each.payload for each in found]
    payloads[place] = _spoil(dice, payloads[place])
    left = [message(each.headers, payload) for each, payload in zip(found, payloads, strict=True)]
    if dice.random() < 0.1:
        del left[place]
    return b"".join(left)


def _spoil(dice: random.Random, data: bytes) -> bytes:
    """One value replaced; or some bytes cut out, doubled or put in."""
    values = list(_VALUE.finditer(data))
    if values and dice.random() < 0.7:
        value = dice.choice(values)
        return data[: value.start()] + dice.choice(_STRANGE) + data[value.end() :]
    begin = dice.randint(0, len(data))
    end = min(len(data), begin + dice.choice((1, 2, 10, 1_000)))
    middle = dice.choice((b"", data[begin:end] * 2, b"\xff", b"\n\n", b"\r", b"data: x\n\n", b"\0"))
    return data[:begin] + middle + data[end:]
