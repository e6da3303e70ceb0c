"""What the routes of tokens take and give."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NewTokens(BaseModel):
    """Where tokens are to work."""

    model_config = ConfigDict(extra="forbid")

    project_id: str | None = Field(
        default=None, max_length=26, description="One of your projects; default: the one that you work in."
    )


class TokenAnswer(BaseModel):
    """Tokens (RFC 6749 section 5.1). They are shown only here."""

    access_token: str = Field(description="Send it as `Authorization: Bearer`, where an API key would go.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - it is what the standard calls the kind of token
    expires_in: int = Field(description="Seconds that the access token is good for.")
    refresh_token: str | None = Field(default=None, description="Exchange it, once, for the next two tokens.")
    scope: str | None = Field(default=None, description="Permissions that it is narrowed to.")
