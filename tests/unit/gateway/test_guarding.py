"""What is asked, in any form, goes through guardrails before anybody hears it."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from polyforge.adapters.guardrails import pii
from polyforge.dialects.anthropic_messages import reading
from polyforge.dialects.multipart import read_form
from polyforge.dialects.openai_chat import requests
from polyforge.gateway.guarding.hop import Guarding
from polyforge.gateway.job import Job
from polyforge.guardrails.passages import asked, texts_of
from polyforge.guardrails.rules import Rule, Rulebook
from polyforge.kernel.chat import ChatRequest
from polyforge.kernel.errors import Unsupported
from polyforge.kernel.tasks import Dialect, InferenceRequest, Task, TensorRequest
from polyforge.ports.guardrail import Action, Stage
from polyforge.registry.catalog import Model
from polyforge.telemetry.hops import Hops
from polyforge.tenancy.callers import Caller

MAIL = "jane.doe@acme.co"
Read = Callable[[bytes], ChatRequest]


class Nobody:
    """Asks no models."""

    def models(self, _asker: Any) -> None: ...


NOBODY: Any = Nobody()


def guarding(action: Action = "mask") -> Guarding:
    guardrail = pii.PersonalData(pii.Settings(kinds=("email",)), action)
    return Guarding(Rulebook([Rule("pii", "pii", guardrail, frozenset({"input", "output"}), action, always=True)]))


def job(body: bytes, task: Task, dialect: Dialect = "openai", read_chat: Read | None = None) -> Job:
    caller = Caller("k", "k", "o", "p", frozenset())
    request = InferenceRequest(task, dialect, "m", body)
    return Job("id", caller, request, Model("m", "chat", ()), Hops(), 0.0, 1e9, read_chat)


async def passed(body: Any, task: Task, dialect: Dialect = "openai", read_chat: Read | None = None) -> Job:
    asked_for = job(json.dumps(body).encode(), task, dialect, read_chat)
    await guarding().begin(asked_for, NOBODY)
    return asked_for


@pytest.mark.parametrize(
    ("task", "body"),
    [
        ("embedding", {"input": [f"to {MAIL}", "x"]}),
        ("embedding", {"input": "x", "user": MAIL}),
        ("completion", {"prompt": "x", "suffix": f"said {MAIL}", "metadata": {"of": [MAIL]}}),
        ("speech", {"input": f"to {MAIL}", "instructions": f"as {MAIL} would"}),
        (
            "moderation",
            {"input": [{"type": "text", "text": MAIL}, {"type": "image_url", "image_url": {"url": "data:x"}}]},
        ),
        (
            "chat",
            {
                "system": [{"type": "text", "text": f"you serve {MAIL}"}],
                "messages": [
                    {"role": "user", "content": MAIL},
                    {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": MAIL}]}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": {"b": MAIL}}}]},
                    {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": MAIL}}]},
                ],
            },
        ),
    ],
)
async def test_no_text_of_a_task_that_is_no_chat_goes_around(task: Task, body: Any) -> None:
    went = await passed(body, task)
    text = json.dumps(body)
    assert json.loads(went.request.body) == json.loads(text.replace(MAIL, "[EMAIL]"))


async def test_texts_of_forms_are_judged_and_their_files_stay() -> None:
    parts = [("prompt", f"as {MAIL} said"), ('file"; filename="a.wav', MAIL), ("model", "m")]
    head = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join(f"--b\r\n{head.format(*part)}" for part in parts).encode() + b"--b--\r\n"
    asked_for = job(body, "transcription")
    await guarding().begin(asked_for, NOBODY)
    assert read_form(asked_for.request.body).text("prompt") == "as [EMAIL] said"
    assert asked_for.request.body.count(MAIL.encode()) == 1


async def test_documents_that_are_texts_and_the_end_user_are_judged() -> None:
    written = base64.b64encode(f"to {MAIL}".encode()).decode()
    file = {"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{written}"}}
    body = {"model": "m", "user": MAIL, "messages": [{"role": "user", "content": [file]}]}
    went = await passed(body, "chat", read_chat=requests.read_chat)
    assert went.canonical
    assert went.chat is not None
    assert texts_of(asked(went.chat)) == ["to [EMAIL]", "[EMAIL]"]


async def test_documents_of_messages_are_changed_where_they_stand() -> None:
    block = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": MAIL}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    body = {
        "model": "m",
        "max_tokens": 5,
        "metadata": {"user_id": MAIL},
        "messages": [{"role": "user", "content": [block, pdf]}],
    }
    went = await passed(body, "chat", "anthropic", reading.read_chat)
    assert not went.canonical
    assert json.loads(went.request.body) == json.loads(json.dumps(body).replace(MAIL, "[EMAIL]"))


@pytest.mark.parametrize(("stage", "told"), [("output", "it was [EMAIL]"), ("input", f"it was {MAIL}")])
async def test_what_an_error_tells_of_an_answer_is_judged_as_the_answer_would_be(stage: Stage, told: str) -> None:
    guardrail = pii.PersonalData(pii.Settings(kinds=("email",)), "mask")
    guard = Guarding(Rulebook([Rule("pii", "pii", guardrail, frozenset({stage}), "mask", always=True)]))
    passing = await guard.begin(job(b"{}", "chat"), NOBODY)
    assert passing is not None
    assert await guard.words(passing, ["x", f"it was {MAIL}"]) == ["x", told]


@pytest.mark.parametrize("text", [f"to {MAIL}", "x"])
async def test_what_is_said_beside_the_texts_is_judged(text: str) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": None, "tool_calls": calls}],
        "metadata": {"customer": MAIL},
        "prediction": {"type": "content", "content": [{"type": "text", "text": f"Dear {MAIL}"}]},
    }
    went = await passed(body, "chat", read_chat=requests.read_chat)
    assert not went.canonical
    assert json.loads(went.request.body) == json.loads(json.dumps(body).replace(MAIL, "[EMAIL]"))


async def test_what_is_said_beside_the_texts_is_changed_in_canonical_form_too() -> None:
    written = base64.b64encode(MAIL.encode()).decode()
    file = {"type": "file", "file": {"filename": "a", "file_data": f"data:text/plain;base64,{written}"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [file]}], "metadata": {"customer": MAIL}}
    went = await passed(body, "chat", read_chat=requests.read_chat)
    assert went.canonical
    assert went.chat is not None
    assert json.loads(bytes(went.chat.others["metadata"])) == {"customer": "[EMAIL]"}
    assert texts_of(asked(went.chat)) == ["[EMAIL]"]


@pytest.mark.parametrize(
    ("operation", "datatype", "header_length"),
    [("infer", "BYTES", None), ("generate", "FP32", None), ("infer", "FP32", 0)],
)
async def test_texts_in_tensors_are_refused_because_nobody_judges_them(
    operation: Any, datatype: str, header_length: int | None
) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": [MAIL]}]}).encode()
    asked_for = job(body, "inference")
    asked_for.request = TensorRequest("inference", "oip", "m", body, operation=operation, header_length=header_length)
    with pytest.raises(Unsupported, match="cannot judge texts in tensors"):
        await guarding().begin(asked_for, NOBODY)


async def test_numbers_in_tensors_have_nothing_to_judge() -> None:
    body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.0]}]}'
    asked_for = job(body, "inference")
    asked_for.request = TensorRequest("inference", "oip", "m", body)
    assert await guarding().begin(asked_for, NOBODY) is None
