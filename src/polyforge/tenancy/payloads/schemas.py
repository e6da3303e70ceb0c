"""What the management API of payloads gives."""

from datetime import datetime

from pydantic import BaseModel, Field


class PartView(BaseModel):
    """A request or an answer."""

    text: str = Field(description="A stream's events are put together to the answer that they make, where they can be.")
    bytes: int = Field(description="How long it was, or its events were.")
    cut: bool = Field(description="Whether the end is missing because it was too long.")
    left_out: str | None = Field(
        description="Why there is nothing of it: `binary`, or `pseudonyms` where the answer names again whom a"
        " guardrail had hidden in the request."
    )


class PayloadView(BaseModel):
    """What was asked and answered. What guardrails masked is masked here."""

    id: str = Field(description="The request's.")
    http_status: int
    content_type: str = Field(description="Of the answer.")
    request: PartView
    answer: PartView
    created_at: datetime
    expires_at: datetime
