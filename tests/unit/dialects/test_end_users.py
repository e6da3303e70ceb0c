"""Whom a caller asks for, in each dialect."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from polyforge.dialects import openai_embeddings, openai_images
from polyforge.dialects.anthropic_messages.facts import decode_messages
from polyforge.dialects.openai_chat import facts
from polyforge.dialects.openai_responses.facts import decode_response
from polyforge.dialects.platform import requests as platform
from polyforge.dialects.platform_code.operations import OPERATIONS
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest

Decode = Callable[[bytes], InferenceRequest]
SAID = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "m", "messages": SAID}
CASES: dict[str, tuple[Decode, dict[str, Any]]] = {
    "chat": (facts.decode_chat, CHAT),
    "completion": (facts.decode_completion, {"model": "m", "prompt": "Hi"}),
    "response": (decode_response, {"model": "m", "input": "Hi"}),
    "embedding": (openai_embeddings.decode_embeddings, {"model": "m", "input": "Hi"}),
    "image": (openai_images.decode_generation, {"model": "m", "prompt": "Hi"}),
    "platform chat": (platform.decode_chat, CHAT),
    "platform completion": (platform.decode_completion, {"model": "m", "prompt": "Hi"}),
    "code": (OPERATIONS[1].decode, {"model": "m", "language": "python", "code": "pass"}),
}


def ask(decode: Decode, body: dict[str, Any], **more: Any) -> str:
    return decode(json.dumps({**body, **more}).encode()).end_user


@pytest.mark.parametrize("name", CASES)
def test_user_is_the_end_user(name: str) -> None:
    decode, body = CASES[name]
    assert ask(decode, body) == ""
    assert ask(decode, body, user="u" * 256) == "u" * 256


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("user", ["u" * 257, 7])
def test_a_user_that_cannot_be_is_refused(name: str, user: Any) -> None:
    decode, body = CASES[name]
    with pytest.raises(Invalid) as caught:
        ask(decode, body, user=user)
    assert caught.value.param == "user"


@pytest.mark.parametrize("name", ["chat", "completion", "response"])
def test_the_newer_field_of_openai_is_preferred(name: str) -> None:
    decode, body = CASES[name]
    assert ask(decode, body, user="old", safety_identifier="new") == "new"
    assert ask(decode, body, user="old", safety_identifier=None) == "old"
    with pytest.raises(Invalid, match="safety_identifier has 257 characters"):
        ask(decode, body, safety_identifier="u" * 257)


def test_an_edited_image_by_form() -> None:
    lines = ["--b"]
    for name, value in {"model": "m", "prompt": "Hi", "user": "jo"}.items():
        lines += [f'Content-Disposition: form-data; name="{name}"', "", value, "--b"]
    lines += ['Content-Disposition: form-data; name="image"; filename="i.png"', "", "png", "--b--", ""]
    assert openai_images.decode_edit("\r\n".join(lines).encode()).end_user == "jo"


def test_anthropic_names_it_in_the_metadata() -> None:
    body = {**CHAT, "max_tokens": 5}
    assert ask(decode_messages, body) == ask(decode_messages, body, metadata={}) == ""
    assert ask(decode_messages, body, metadata={"user_id": "jo"}) == "jo"
    with pytest.raises(Invalid) as caught:
        ask(decode_messages, body, metadata={"user_id": "u" * 257})
    assert caught.value.param == "metadata.user_id"
