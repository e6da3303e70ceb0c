"""How many tokens a Messages request has, where nobody can be asked: a bounded estimate."""

from typing import Final

from polyforge.dialects.anthropic_messages.facts import write_count
from polyforge.dialects.anthropic_messages.reading import read_chat
from polyforge.kernel.chat import Block, ChatRequest, File, Image, Text, ToolCall, ToolResult

_BYTES_PER_TOKEN: Final = 4
_PICTURE_TOKENS: Final = 1_600
"""What Anthropic's documentation gives for the largest picture that is not scaled down."""
_TURN_TOKENS: Final = 4


def estimate_count(body: bytes) -> bytes:
    """The answer to POST /v1/messages/count_tokens, estimated; Invalid names the field that is wrong."""
    return write_count(estimate_tokens(read_chat(body)))


def estimate_tokens(chat: ChatRequest) -> int:
    """Four bytes of text for a token, a fixed number for a picture and for each turn."""
    size = sum(len(tool.name) + len(tool.description or "") + len(bytes(tool.parameters or b"")) for tool in chat.tools)
    size += sum(_size(block) for message in chat.messages for block in message.content)
    return -(-size // _BYTES_PER_TOKEN) + _TURN_TOKENS * len(chat.messages)


def _size(block: Block) -> int:
    """Bytes that come to the same number of tokens."""
    if isinstance(block, Text):
        return len(block.text.encode())
    if isinstance(block, ToolCall):
        return len(block.name) + len(block.arguments.encode())
    if isinstance(block, ToolResult):
        return sum(_size(part) for part in block.content)
    if isinstance(block, Image):
        return _PICTURE_TOKENS * _BYTES_PER_TOKEN
    if isinstance(block, File):
        return len(block.data or "")
    return 0
