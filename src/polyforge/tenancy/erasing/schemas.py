"""What the management API of forgetting gives."""

from pydantic import BaseModel, Field


class ErasedView(BaseModel):
    """What one call did."""

    requests: int = Field(description="Requests whose end user has a pseudonym now.")
    payloads: int = Field(description="Payloads that were removed.")
    feedback: int = Field(description="Feedback that was removed.")
    conversations: int = Field(description="Conversations that a user saved and that were removed.")
    files: int = Field(description="Files that a user uploaded and that were removed.")
    runs: int = Field(description="Runs of flows that a user began, removed with all that happened in them.")
    batches: int = Field(description="Batches that a user made and that were removed.")
    jobs: int = Field(description="Jobs of a user that name nobody any more; a worker removes them within minutes.")
    going_on: int = Field(
        description="Jobs of a user that were told to end and are not over yet: call again once they are, without a"
        " cursor, to remove what they hold."
    )
    next_cursor: str | None = Field(description="Call again with it as `cursor` to go on; null: all of it is done.")
