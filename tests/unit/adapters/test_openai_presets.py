"""What follows from a preset of the OpenAI provider: address, fields, roles, parameters."""

import json
from typing import Any

import msgspec
import pytest

from polyforge.adapters.providers.openai import ADAPTER, OpenAI, Settings
from polyforge.dialects.parameters import unsupported
from polyforge.kernel.chat import ChatRequest, Message, Text
from polyforge.kernel.tasks import InferenceRequest
from polyforge.ports.provider import Call, Timeouts
from polyforge.upstreams.openai_presets import PRESETS, PresetName
from polyforge.upstreams.openai_wire import OpenAIWire
from polyforge.wiring import adapters
from polyforge.wiring.settings import Chosen

NAMES: tuple[PresetName, ...] = ("openai", "vllm", "ollama", "llamacpp", "tgi")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_decides_what_a_chat_can_carry(name: PresetName) -> None:
    provider = ADAPTER(Settings(preset=name), 5.0)
    assert isinstance(provider, OpenAI)
    assert provider.capabilities.parameters == PRESETS[name].parameters
    assert provider.capabilities.seller == ("openai" if name == "openai" else None)
    chat = ChatRequest(messages=[], top_k=5, others={"min_p": msgspec.Raw(b"0.1")})
    refused = unsupported(chat, provider.capabilities.parameters)
    assert refused == ([] if name in ("vllm", "llamacpp") else ["min_p", "top_k"])


def test_the_settings_file_finds_the_preset() -> None:
    chosen = Chosen.model_validate({"use": "openai", "preset": "vllm"})
    adapter, settings = adapters.find("providers", "providers.lab", chosen)
    assert adapter(settings, 5.0).capabilities.parameters >= {"top_k", "min_p", "repetition_penalty"}


def body_of(name: PresetName) -> dict[str, Any]:
    preset = PRESETS[name]
    wire = OpenAIWire(limit_field=preset.limit_field, max_response_bytes=1024)
    chat = ChatRequest(
        messages=[Message("developer", [Text("Be brief.")]), Message("user", [Text("hi")])],
        output_limit=7,
        top_k=5 if "top_k" in preset.parameters else None,
    )
    request = InferenceRequest(task="chat", dialect="anthropic", model="m", body=b"{}")
    asked = wire.ask(Call(request, "id", "m", None, Timeouts(), 0.0, 30.0, {}, chat))
    assert asked.path == "/chat/completions"
    return json.loads(asked.body)


def test_a_chat_is_written_in_the_presets_words() -> None:
    own, local = body_of("openai"), body_of("vllm")
    assert (own["max_completion_tokens"], local["max_tokens"], local["top_k"]) == (7, 7, 5)
    assert "top_k" not in own
    assert [message["role"] for message in local["messages"]] == ["system", "user"]
