"""What a conversation asks last, and what stands for all that comes before and around it."""

from typing import Final

import msgspec

from polyforge.dialects.parameters import HINTS
from polyforge.gateway.caching.agreement import facts_of, speaks
from polyforge.gateway.caching.keys import around, keyed
from polyforge.gateway.caching.semantic import Question
from polyforge.gateway.job import Job
from polyforge.kernel.chat import ChatRequest, Text
from polyforge.kernel.errors import PolyforgeError
from polyforge.registry.caching import CacheRules, SemanticCacheSettings

_encode: Final = msgspec.json.Encoder(order="sorted").encode


def question_of(job: Job, rules: CacheRules, settings: SemanticCacheSettings) -> Question | None:
    """What a job asks; None where that is not to be compared with what others asked."""
    if job.request.task != "chat" or job.examine is not None or job.read_chat is None:
        return None
    try:
        chat = job.chat = job.chat or job.read_chat(job.request.body)
    except PolyforgeError:
        return None
    text = _last_words(chat)
    if not text or len(text) > settings.max_characters or not speaks(text, settings.languages):
        return None
    others = {name: value for name, value in chat.others.items() if name not in HINTS}
    rest = msgspec.structs.replace(chat, messages=chat.messages[:-1], user=None, others=others)
    last = chat.messages[-1].name or ""
    partition = keyed(job, "s", around(job, rules), _encode(rest), last.encode())
    return Question(partition, text, facts_of(text))


def _last_words(chat: ChatRequest) -> str:
    """What the user said last, where that is nothing but text."""
    last = chat.messages[-1]
    if last.role != "user" or not all(isinstance(block, Text) for block in last.content):
        return ""
    return "\n".join([block.text for block in last.content if isinstance(block, Text)]).strip()
