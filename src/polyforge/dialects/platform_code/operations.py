"""The code operations: each with its body, its prompt, and the form of its answer."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from polyforge.dialects.bodies import decode_body
from polyforge.dialects.openai_chat.facts import check_model_name
from polyforge.dialects.platform.replies import write_usage
from polyforge.dialects.platform_code.answers import (
    Answer,
    Blocks,
    BlocksReply,
    Explanation,
    ExplanationReply,
    Findings,
    FindingsReply,
    check_answer,
    read_answer,
    schema_of,
)
from polyforge.dialects.platform_code.bodies import (
    CommonBody,
    CompleteBody,
    ExplainBody,
    FixBody,
    GenerateBody,
    ReviewBody,
    TestBody,
)
from polyforge.dialects.platform_code.prompts import (
    AGAIN,
    CUT_OFF,
    GROUND,
    LEVELS,
    NOTHING,
    TASKS,
    Sections,
    lines_of,
    mark_of,
    numbered,
    write_sections,
)
from polyforge.dialects.writing import Answering
from polyforge.kernel.chat import ChatRequest, ChatResult, Fault, Message, OutputFormat, Text, text_of
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest

Reply = type[BlocksReply] | type[ExplanationReply] | type[FindingsReply]
Prompt = tuple[str, Sections]
"""The task in words, and the sections that it is about."""
_BYTES_PER_PART: Final = 16
"""Bytes of prompt that the tokens which admission allows for one part stand for, even at one byte a token."""
_LONGEST_QUOTE: Final = 100_000
"""Characters of an answer that the model is shown again."""
_MOST_PROMPT_BYTES: Final = 8_192
"""More than what we add to a body in the two prompts that it may take, the numbers of lines left out."""
_NUMBER_BYTES: Final = 10
_encode: Final = msgspec.json.Encoder().encode
_Body = TypeVar("_Body", bound=CommonBody)


class Operation(Generic[_Body]):
    """One operation: from a body to a prompt, from the model's text to an answer that holds."""

    def __init__(
        self,
        name: str,
        body: type[_Body],
        answer: type[Answer],
        reply: Reply,
        prompt: Callable[[_Body], Prompt],
        numbered_lines: Callable[[_Body], int] = lambda _: 0,
    ) -> None:
        self.name = name
        self.body = body
        self.reply = reply
        self._answer: type[Answer] = answer
        self._prompt = prompt
        self._lines = numbered_lines
        self._decoder = msgspec.json.Decoder(body)
        self._schema = msgspec.Raw(_encode(schema_of(answer)))

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"/api/v1/code/{self.name}"

    def decode(self, body: bytes) -> InferenceRequest:
        """What routing, limits and metering need of it; Invalid names the field that is wrong."""
        wire = decode_body(self._decoder, body)
        if wire.stream:
            raise Invalid("stream: code operations answer as a whole; leave it out", param="stream")
        if wire.model:
            check_model_name(wire.model)
        added = _MOST_PROMPT_BYTES + _NUMBER_BYTES * self._lines(wire)
        return InferenceRequest(
            task="chat",
            dialect="platform",
            model=wire.model,
            body=body,
            output_limit=wire.max_output_tokens,
            parts=-(-added // _BYTES_PER_PART),
            tries=2,
            end_user=wire.user,
        )

    def read_chat(self, body: bytes) -> ChatRequest:
        """The prompt. The form of the answer stands in it too, for models that cannot be held to a schema."""
        wire = decode_body(self._decoder, body)
        task, sections = self._prompt(wire)
        sections.append(("context", wire.context))
        mark = mark_of(sections)
        ground = GROUND.format(language=wire.language, task=task, mark=mark, schema=bytes(self._schema).decode())
        material = write_sections(sections, mark)
        return ChatRequest(
            messages=[Message("system", [Text(ground)]), Message("user", [Text(material)])],
            output_format=OutputFormat("json_schema", self.name, self._schema, strict=True, prompted=True),
            output_limit=wire.max_output_tokens,
            temperature=wire.temperature,
        )

    def examine(self, body: bytes, result: ChatResult) -> Fault | None:
        """What is wrong with a model's answer to a body, and what to say to it; None when it holds."""
        text, finish = _said(result)
        if finish in ("refusal", "content_filter"):
            return Fault("the model declined to answer", text)
        lines = self._lines(decode_body(self._decoder, body))
        try:
            check_answer(read_answer(self._answer, text), lines)
        except Invalid as error:
            reason = CUT_OFF if finish == "length" else error.message
            again = Message("user", [Text(AGAIN.format(reason=reason))])
            return Fault(reason, text, [Message("assistant", [Text(text[:_LONGEST_QUOTE] or NOTHING)]), again])
        return None

    def write(self, result: ChatResult, answering: Answering) -> bytes:
        """An answer that holds, as the caller gets it."""
        answer = read_answer(self._answer, _said(result)[0])
        fields = msgspec.structs.asdict(answer)
        usage = write_usage(result, answering)
        return _encode(self.reply(id=answering.id, model=answering.model, usage=usage, **fields))


def _said(result: ChatResult) -> tuple[str, str]:
    choice = result.choices[0]
    return text_of(choice.content), choice.finish


def _generate(body: GenerateBody) -> Prompt:
    return TASKS["generate"], [("instructions", body.instructions)]


def _explain(body: ExplainBody) -> Prompt:
    return TASKS["explain"].format(level=LEVELS[body.level]), [
        ("code", numbered(body.code)),
        ("instructions", body.instructions),
    ]


def _review(body: ReviewBody) -> Prompt:
    wanted = ", ".join(dict.fromkeys(body.focus)) or "everything that a good reviewer would"
    return TASKS["review"].format(focus=wanted), [("code", numbered(body.code)), ("instructions", body.instructions)]


def _fix(body: FixBody) -> Prompt:
    return TASKS["fix"], [("code", body.code), ("error", body.error), ("instructions", body.instructions)]


def _test(body: TestBody) -> Prompt:
    framework = "" if body.framework is None else f" with {body.framework}"
    return TASKS["test"].format(framework=framework), [("code", body.code), ("instructions", body.instructions)]


def _complete(body: CompleteBody) -> Prompt:
    return TASKS["complete"], [("prefix", body.prefix), ("suffix", body.suffix), ("instructions", body.instructions)]


def _count_lines(body: ExplainBody | ReviewBody) -> int:
    return len(lines_of(body.code))


OPERATIONS: Final = (
    Operation("generate", GenerateBody, Blocks, BlocksReply, _generate),
    Operation("explain", ExplainBody, Explanation, ExplanationReply, _explain, _count_lines),
    Operation("review", ReviewBody, Findings, FindingsReply, _review, _count_lines),
    Operation("fix", FixBody, Blocks, BlocksReply, _fix),
    Operation("test", TestBody, Blocks, BlocksReply, _test),
    Operation("complete", CompleteBody, Blocks, BlocksReply, _complete),
)
