"""What is no text is refused wherever it stands, also in what nobody reads."""

from collections.abc import Callable

import pytest

from polyforge.dialects.anthropic_messages import reading as messages
from polyforge.dialects.openai_chat import completions
from polyforge.dialects.openai_chat import requests as chat_completions
from polyforge.dialects.openai_responses import requests as responses
from polyforge.dialects.platform import requests as platform
from polyforge.dialects.platform_code.operations import OPERATIONS
from polyforge.kernel.chat import ChatRequest
from polyforge.kernel.errors import Invalid

TURN = b'"messages":[{"role":"user","content":"x"}]'
CALL = b'{"role":"assistant","content":[{"type":"tool_call","id":"1","name":"x","arguments":{"city":"\xff"}}]}'
INPUT = b'{"type":"tool_use","id":"a","name":"b","input":{"city":"\xff"}}'
SCHEMA = b'{"type":"json_schema","json_schema":{"name":"x","schema":{"title":"\xff"}}}'


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (chat_completions.read_chat, b'{%b,"response_format":%b}' % (TURN, SCHEMA)),
        (chat_completions.read_chat, b'{%b,"unheard_of":{"a":"\xff"}}' % TURN),
        (completions.read_completion, b'{"prompt":"x","unheard_of":["\xff"]}'),
        (responses.read_chat, b'{"input":[{"role":"user","content":"x","unheard_of":"\xff"}]}'),
        (responses.read_chat, b'{"input":"x","metadata":{"a":"\xff"}}'),
        (messages.read_chat, b'{"max_tokens":5,"messages":[{"role":"assistant","content":[%b]}]}' % INPUT),
        (messages.read_chat, b'{"max_tokens":5,%b,"tools":[{"name":"f","input_schema":{"a":"\xff"}}]}' % TURN),
        (platform.read_chat, b'{"model":"m","messages":[%b]}' % CALL),
        (platform.read_chat, b'{"model":"m",%b,"response_schema":{"a":"\xff"}}' % TURN),
    ],
)
def test_a_body_has_to_be_utf8(read: Callable[[bytes], ChatRequest], body: bytes) -> None:
    read(body.replace(b"\xff", b"ok"))
    with pytest.raises(Invalid, match="not valid UTF-8"):
        read(body)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_code_has_to_be_utf8(operation: object) -> None:
    with pytest.raises(Invalid, match="not valid UTF-8"):
        operation.read_chat(b'{"language":"python","instructions":"\xff"}')  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
