"""A choice among tools where there are none, towards every provider's dialect."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from polyforge.dialects.anthropic_messages import requests as messages
from polyforge.dialects.bedrock_converse import requests as converse
from polyforge.dialects.gemini import requests as gemini
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.openai_chat import requests as chat_completions
from polyforge.kernel.chat import ChatRequest, Message, Text, ToolChoice
from polyforge.kernel.errors import Invalid

WRITERS: dict[str, Callable[[ChatRequest], bytes]] = {
    "openai": lambda chat: chat_completions.write_chat(chat, model="m", stream=False),
    "anthropic": lambda chat: messages.write_chat(chat, model="m", stream=False),
    "gemini": lambda chat: gemini.write_chat(chat, model="gemini-3-pro", names=ToolNames()),
    "bedrock": lambda chat: converse.write_chat(chat, model="anthropic.claude"),
}


def asked(choice: ToolChoice) -> ChatRequest:
    return ChatRequest(messages=[Message("user", [Text("Hi.")])], tool_choice=choice)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("mode", ["auto", "none"])
def test_what_clients_always_send_is_left_out_without_tools(write: Callable[[ChatRequest], bytes], mode: Any) -> None:
    body: dict[str, Any] = json.loads(write(asked(ToolChoice(mode))))
    assert not {"tool_choice", "toolConfig", "tools"} & body.keys()


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("named", "f")], ids=["required", "named"])
def test_a_tool_that_must_be_called_has_to_be_there(write: Callable[[ChatRequest], bytes], choice: ToolChoice) -> None:
    with pytest.raises(Invalid) as refused:
        write(asked(choice))
    assert refused.value.param == "tool_choice"
