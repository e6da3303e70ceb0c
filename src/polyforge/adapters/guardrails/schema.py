"""Answers that must fit a JSON schema (drafts 4 to 2020-12), whatever the model was asked for."""

from collections.abc import Sequence
from typing import Any, Final

import jsonschema_rs
import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource

_decode: Final = msgspec.json.Decoder().decode


class Settings(BaseModel):
    """What texts must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    json_schema: dict[str, Any] = Field(description="The schema. References to other documents are not followed.")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            _validator_of(schema)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(f"is no JSON schema: {str(error)[:300]}") from error
        return schema


class Schema:
    """Judges the prose of whole answers; thoughts and calls of tools are let be."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "flag"):
            raise ValueError("what fits no schema can be blocked or flagged, not masked")
        self._validator = _validator_of(settings.json_schema)
        self._blocks = action == "block"

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "Schema":
        """A session remembers nothing."""
        return self

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Judge every text; what is no JSON fits nothing."""
        wrong = sum(not self._fits(passage.text) for passage in passages if passage.part == "text")
        return Outcome(("schema",), wrong, self._blocks) if wrong else Outcome()

    def filter(self, part: Part) -> None:
        """Only a whole text is JSON."""

    def _fits(self, text: str) -> bool:
        try:
            return self._validator.is_valid(_decode(text.encode()))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False


def _validator_of(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(schema, retriever=_refuse)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri[:200]} is another document, and those are not fetched")


ADAPTER = Schema
