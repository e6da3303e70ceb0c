"""Bodies of POST /api/v1/code/*."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from polyforge.dialects.openai_chat.facts import MOST_OUTPUT
from polyforge.dialects.platform.requests import EndUser

Level = Literal["beginner", "intermediate", "expert"]
Focus = Literal["bugs", "security", "performance", "readability", "tests"]
_Language = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 #+._/()-]{0,39}$", description="As in `python` or `c++`.")
]
_Framework = Annotated[str, Meta(pattern=r"^[A-Za-z0-9@][A-Za-z0-9 @#+._/()-]{0,79}$", description="As in `pytest`.")]
_Filled = Annotated[str, Meta(min_length=1)]
_Limit = Annotated[int, Meta(ge=1, le=MOST_OUTPUT, description="The most tokens of the answer.")]


class CommonBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every code operation takes."""

    language: _Language
    model: Annotated[str, Meta(description="Default: the one of the settings, or the first chat model.")] = ""
    context: Annotated[str, Meta(description="What else is worth knowing: other files, types, conventions.")] = ""
    max_output_tokens: _Limit | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    stream: Annotated[bool, Meta(description="Not supported: the answer is checked as a whole.")] = False
    user: EndUser = ""


class CodeBody(CommonBody, kw_only=True, forbid_unknown_fields=True):
    """What operations take that work on code which is there."""

    instructions: Annotated[str, Meta(description="What to pay attention to, in your words.")] = ""


class GenerateBody(CommonBody, kw_only=True, forbid_unknown_fields=True):
    """Write code that does what the instructions say."""

    instructions: Annotated[str, Meta(min_length=1, description="What the code shall do.")]


class ExplainBody(CodeBody, kw_only=True, forbid_unknown_fields=True):
    """Explain code, step by step."""

    code: _Filled
    level: Annotated[Level, Meta(description="Whom it is explained to.")] = "intermediate"


class ReviewBody(CodeBody, kw_only=True, forbid_unknown_fields=True):
    """Find what is wrong with code."""

    code: _Filled
    focus: Annotated[list[Focus], Meta(description="What to look for; default: everything.")] = []


class FixBody(CodeBody, kw_only=True, forbid_unknown_fields=True):
    """Mend code."""

    code: _Filled
    error: Annotated[str, Meta(description="What goes wrong, as in a traceback.")] = ""


class TestBody(CodeBody, kw_only=True, forbid_unknown_fields=True):
    """Write tests of code."""

    code: _Filled
    framework: _Framework | None = None


class CompleteBody(CodeBody, kw_only=True, forbid_unknown_fields=True):
    """Fill in what is missing between two pieces of code."""

    prefix: _Filled
    suffix: str = ""
