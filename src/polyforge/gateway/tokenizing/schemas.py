"""What the route of counting takes and gives."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polyforge.tokens.counter import MAX_CHARACTERS


class TokenizeRequest(BaseModel):
    """What to count: a text, a conversation, or what would be embedded."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=200, description="A model that the caller may use.")
    text: str | None = Field(default=None, max_length=MAX_CHARACTERS)
    messages: list[dict[str, Any]] | None = Field(
        default=None, min_length=1, description="As in POST /v1/chat/completions."
    )
    tools: list[dict[str, Any]] = Field(default=[], description="With `messages`: the tools on offer.")
    input: str | list[str] | None = Field(default=None, description="As in POST /v1/embeddings.")
    with_tokens: bool = Field(default=False, description="Whether the ids of the tokens of `text` are wanted too.")

    @model_validator(mode="after")
    def _has_one_content(self) -> "TokenizeRequest":
        if sum(content is not None for content in (self.text, self.messages, self.input)) != 1:
            raise ValueError("give one of text, messages and input")
        if self.with_tokens and self.text is None:
            raise ValueError("with_tokens needs text")
        if self.tools and self.messages is None:
            raise ValueError("tools need messages")
        return self


class TokenizeAnswer(BaseModel):
    """How many tokens."""

    tokens: int
    exact: bool = Field(description="Whether that is the true number, counted with the model's own tokenizer.")
    low: int = Field(description="The true number is not below this.")
    high: int = Field(description="The true number is not above this.")
    tokenizer: str = Field(description="An encoding of OpenAI's, `file` for a tokenizer.json, or `estimate`.")
    ids: list[int] | None = Field(default=None, description="Where they were asked for.")
