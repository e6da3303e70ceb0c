"""What the management API of forgetting gives."""

from pydantic import BaseModel, Field


class ErasedView(BaseModel):
    """What one call did."""

    requests: int = Field(description="Requests whose end user has a pseudonym now.")
    payloads: int = Field(description="Payloads that were removed.")
    feedback: int = Field(description="Feedback that was removed.")
    conversations: int = Field(description="Conversations that a user saved and that were removed.")
    files: int = Field(description="Files that a user uploaded and that were removed.")
    next_cursor: str | None = Field(description="Call again with it as `cursor` to go on; null: all of it is done.")
