"""How many tokens a Messages request has, where nobody can be asked: a bounded estimate."""

from polyforge.dialects.anthropic_messages.facts import write_count
from polyforge.dialects.anthropic_messages.reading import read_chat
from polyforge.kernel.chat import ChatRequest
from polyforge.tokens.estimates import estimate
from polyforge.tokens.prompts import measure_chat


def estimate_count(body: bytes) -> bytes:
    """The answer to POST /v1/messages/count_tokens, estimated; Invalid names the field that is wrong."""
    return write_count(estimate_tokens(read_chat(body)))


def estimate_tokens(chat: ChatRequest) -> int:
    """The likely number."""
    return measure_chat(chat, estimate, None).likely
