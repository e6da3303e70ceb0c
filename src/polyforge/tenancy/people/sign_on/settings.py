"""Which identity providers there are."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from polyforge.kernel.sizes import NAME_LENGTH
from polyforge.secrets.references import SecretRef
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID

PROVIDER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
MAX_GROUP_LENGTH: Final = 160
"""With the provider's name in front it is the name of a group."""

Short = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH)]
GroupName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_GROUP_LENGTH)]
Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class IdentityProviderSettings(BaseModel):
    """An OpenID Connect provider that people may sign in with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(max_length=500, description="Its address; `/.well-known/openid-configuration` lies below it.")
    client_id: Short = Field(description="What the provider knows this installation as.")
    client_secret: SecretRef | None = Field(default=None, description="Leave it out for a public client.")
    label: Short | None = Field(default=None, description="What the sign-in page says; default: the provider's name.")
    scopes: tuple[Short, ...] = Field(default=("openid", "email", "profile"), description="What to ask for.")
    groups_claim: Short | None = Field(
        default=None, description="The claim that lists a person's groups; without it groups are not followed."
    )
    roles: dict[GroupName, Short] = Field(
        default_factory=dict, description="Roles in the organization by the name of the provider's group."
    )
    allowed_domains: tuple[Domain, ...] = Field(
        default=(), description="Only people with a verified e-mail address there may sign in; default: any domain."
    )
    create_users: bool = Field(default=True, description="Whether who has no account gets one at the first sign-in.")
    organization: str = Field(
        default=DEFAULT_ORGANIZATION_ID, pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$", description="Whose groups and roles."
    )

    @field_validator("issuer")
    @classmethod
    def _is_an_address(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an https:// address without `?` and `#`")
        return issuer

    @field_validator("scopes")
    @classmethod
    def _asks_who_it_is(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("must hold openid")
        return scopes
