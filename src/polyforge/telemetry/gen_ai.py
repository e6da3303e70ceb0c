"""Names of OpenTelemetry's conventions for generative AI. Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/"""

from collections.abc import Mapping
from typing import Final

OPERATIONS: Final[Mapping[str, str]] = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
"""`gen_ai.operation.name` per task; a task without a name in the conventions goes by its own."""


def operation_of(task: str | None) -> str | None:
    """The name of a task's operation."""
    return None if task is None else OPERATIONS.get(task, task)
