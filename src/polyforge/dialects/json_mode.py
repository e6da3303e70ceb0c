"""JSON mode for providers that have only schemas: the model is asked in words for what others can enforce."""

from typing import Final

from polyforge.kernel.chat import ChatRequest, Message, Text

_INSTRUCTION: Final = (
    "Answer with one JSON object and nothing else: no text before or after it, and no code fence around it."
)


def with_instruction(chat: ChatRequest) -> list[Message]:
    """The messages, and where JSON is wanted without a schema and nothing asks for it, a last word of the system."""
    wanted = chat.output_format
    if wanted is None or wanted.schema is not None or wanted.prompted:
        return chat.messages
    return [*chat.messages, Message("system", [Text(_INSTRUCTION)])]
