"""What the routes of saved conversations take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel as Model
from pydantic import Field, model_validator

from polyforge.tenancy.conversations.records import MAX_BYTES
from polyforge.tenancy.people.schemas import Body
from polyforge.tenancy.schemas import Name

Content = Annotated[
    dict[str, Any],
    Field(
        description="The panes as the playground has them: models, parameters, system prompt, messages. Any JSON "
        f"object, of at most {MAX_BYTES} bytes."
    ),
]
Whose = Literal["mine", "shared"]


class NewConversation(Body):
    """A conversation to save."""

    title: Name
    shared: bool = Field(default=False, description="Whether everybody who may call models in the project sees it.")
    content: Content


class ConversationChange(Body):
    """What to change about a conversation: what is left out stays."""

    version: int = Field(ge=1, description="The one that you have seen; 409 when there is a later one.")
    title: Name = Field(default_factory=str)
    shared: bool = False
    content: Content = Field(default_factory=dict)

    @model_validator(mode="after")
    def _changes_something(self) -> "ConversationChange":
        if self.model_fields_set <= {"version"}:
            raise ValueError("give a title, shared or content to change")
        return self


class OwnerView(Model):
    """Who saved a conversation."""

    id: str
    name: str | None = Field(description="null: a key or a service account, or somebody who is gone.")


class ConversationSummary(Model):
    """A conversation without its content."""

    id: str
    title: str
    shared: bool
    own: bool = Field(description="Whether it is yours, so that you may change and delete it.")
    owner: OwnerView
    version: int
    bytes: int = Field(description="Of the content.")
    created_at: datetime
    updated_at: datetime


class ConversationView(ConversationSummary):
    """A conversation with its content."""

    content: dict[str, Any]


class ConversationPage(Model):
    """Some conversations, the latest changed first."""

    data: list[ConversationSummary]
    next_cursor: str | None
