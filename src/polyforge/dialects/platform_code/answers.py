"""Answers of the code operations: their form, the schema that asks a model for it, and whether an answer has it."""

import json
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from polyforge.dialects.platform.replies import UsageReply
from polyforge.kernel.errors import Invalid

_MOST_STARTS: Final = 32
"""Braces in prose before an answer that may turn out to be no JSON."""
_MODEL: Final = Meta(description="The model that was asked.")
_USAGE: Final = Meta(description="Of all attempts.")
_decoder: Final = json.JSONDecoder()


class CodeBlock(msgspec.Struct):
    """Code of one file or snippet. `path`: where the file belongs, if anywhere."""

    language: str
    code: str
    path: str | None = None


class Step(msgspec.Struct):
    """What some lines do. `lines`: the first and the last of them, counted from 1."""

    lines: list[int]
    text: str


class Finding(msgspec.Struct):
    """Something wrong, from `line` to `end_line`, counted from 1. `suggestion`: how to do it instead."""

    line: int
    severity: Literal["info", "warning", "error", "critical"]
    category: str
    message: str
    end_line: int | None = None
    suggestion: str | None = None


class Blocks(msgspec.Struct):
    """Code, and what there is to say about it."""

    blocks: list[CodeBlock]
    explanation: str


class Explanation(msgspec.Struct):
    """What code does, as a whole and step by step."""

    summary: str
    steps: list[Step]


class Findings(msgspec.Struct):
    """What is wrong with code; nothing, where `findings` is empty."""

    findings: list[Finding]
    summary: str


Answer = Blocks | Explanation | Findings


class BlocksReply(Blocks):
    """Code, and what there is to say about it."""

    id: str
    model: Annotated[str, _MODEL]
    usage: Annotated[UsageReply, _USAGE]


class ExplanationReply(Explanation):
    """What code does, as a whole and step by step."""

    id: str
    model: Annotated[str, _MODEL]
    usage: Annotated[UsageReply, _USAGE]


class FindingsReply(Findings):
    """What is wrong with code; nothing, where `findings` is empty."""

    id: str
    model: Annotated[str, _MODEL]
    usage: Annotated[UsageReply, _USAGE]


def schema_of(answer: type[Answer]) -> dict[str, Any]:
    """The JSON schema of an answer as every provider takes it: no references, every field named, no other fields."""
    _, definitions = msgspec.json.schema_components([answer], ref_template="{name}")
    return _strict(definitions[answer.__name__], definitions)


def _strict(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _strict(definitions[schema["$ref"]], definitions)
    strict = {name: value for name, value in schema.items() if name not in ("title", "default")}
    if "enum" in strict:
        strict["type"] = "string"
    for name in ("anyOf", "items"):
        if name in strict:
            strict[name] = _strict_all(strict[name], definitions)
    if "properties" in strict:
        fields: dict[str, Any] = strict["properties"]
        strict["properties"] = {name: _strict(field, definitions) for name, field in fields.items()}
        strict |= {"required": list(fields), "additionalProperties": False}
    return strict


def _strict_all(value: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_strict(each, definitions) for each in cast(list[dict[str, Any]], value)]
    return _strict(value, definitions)


def read_answer(answer: type[Answer], text: str) -> Answer:
    """The answer in a model's text: the first JSON object in it; Invalid says what is wrong with it."""
    found = _first_object(text)
    if not found:
        raise Invalid("there is no JSON object in it, or it breaks off before its end")
    try:
        return msgspec.json.decode(found, type=answer)
    except msgspec.DecodeError as error:
        raise Invalid(str(error)) from error


def _first_object(text: str) -> str:
    """Empty where there is none."""
    start = text.find("{")
    for _ in range(_MOST_STARTS):
        if start < 0:
            break
        try:
            return text[start : _decoder.raw_decode(text, start)[1]]
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
    return ""


def check_answer(answer: Answer, lines: int) -> None:
    """Invalid unless the answer says something, and about lines that there are: 1 to `lines`."""
    if isinstance(answer, Blocks):
        if not any(block.code.strip() for block in answer.blocks):
            raise Invalid("blocks holds no code")
    elif isinstance(answer, Explanation):
        for place, step in enumerate(answer.steps):
            if len(step.lines) != 2:  # noqa: PLR2004
                raise Invalid(f"steps[{place}].lines must be two numbers, the first and the last line")
            _check_lines(f"steps[{place}].lines", step.lines[0], step.lines[1], lines)
    else:
        for place, finding in enumerate(answer.findings):
            last = finding.line if finding.end_line is None else finding.end_line
            _check_lines(f"findings[{place}]", finding.line, last, lines)


def _check_lines(where: str, first: int, last: int, lines: int) -> None:
    if not 1 <= first <= last <= lines:
        raise Invalid(f"{where}: lines {first} to {last} do not exist; the code has lines 1 to {lines}")
