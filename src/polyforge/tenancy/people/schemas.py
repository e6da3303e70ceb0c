"""What the routes of people and of their ways in take and give."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from polyforge.tenancy.people.paging import is_id
from polyforge.tenancy.people.password_rules import MAX_LENGTH, MIN_LENGTH
from polyforge.tenancy.people.second_factor import MAX_CODE_CHARACTERS
from polyforge.tenancy.people.tables import EMAIL_LENGTH
from polyforge.tenancy.schemas import Name

_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def _email(text: str) -> str:
    """Addresses are compared in lower case. Only ASCII: two that look alike shall not be two accounts."""
    lowered = text.strip().lower()
    if not lowered.isascii() or _EMAIL.fullmatch(lowered) is None or ".." in lowered:
        raise ValueError("is not an e-mail address in ASCII")
    return lowered


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("is not an id")
    return text


Email = Annotated[str, StringConstraints(max_length=EMAIL_LENGTH), AfterValidator(_email)]
Given = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]
"""A password that somebody types to prove who they are."""
Chosen = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LENGTH),
    Field(description=f"{MIN_LENGTH} to {MAX_LENGTH} characters, not made of common words or of the name or address."),
]
Token = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_CHARACTERS)]
Id = Annotated[str, StringConstraints(max_length=26), AfterValidator(_id)]


class Body(BaseModel):
    """What a route takes: nothing that it does not know."""

    model_config = ConfigDict(extra="forbid")


class SignIn(Body):
    """An e-mail address and a password."""

    email: Email
    password: Given


class SecondStep(Body):
    """The code of a second factor, for a sign-in that waits for it."""

    token: Token
    code: Code = Field(description="Six digits, or a recovery code.")


class LinkToken(Body):
    """The secret of a link."""

    token: Token


class Address(Body):
    """Whom to write to."""

    email: Email


class NewPassword(Body):
    """A new password, by the link of a reset."""

    token: Token
    password: Chosen


class SignInView(BaseModel):
    """How far a sign-in got."""

    second_factor: str | None = Field(
        default=None, description="Give it back with a code at /api/v1/auth/second-factor; null: you are signed in."
    )


class NameChange(Body):
    """What to be called."""

    name: Name


class PasswordChange(Body):
    """A new password, by the old one."""

    old: Given
    new: Chosen


class ProjectChoice(Body):
    """Where to work."""

    project_id: Id


class PasswordProof(Body):
    """The password, to show that it is really you; of no matter for accounts that have none."""

    password: Annotated[str, StringConstraints(max_length=MAX_LENGTH)] = ""


class CodeProof(PasswordProof):
    """The password and a code of the second factor."""

    code: Code


class SecondFactorView(BaseModel):
    """A second factor that waits for its first code."""

    secret: str = Field(description="For an authenticator app; shown this once.")
    uri: str = Field(description="The same, as apps read it from a picture.")
    token: str


class RecoveryCodes(BaseModel):
    """Codes for when the device is lost; each works once."""

    codes: list[str]


class NewUser(Body):
    """A user to make. The first one, made with the admin key, is an operator and owns the default organization."""

    email: Email
    name: Name
    password: Chosen
    role: Name | None = Field(default=None, description="A role in the whole organization of the caller.")
    operator: bool = Field(default=False, description="Whether they look after the whole installation.")


class UserView(BaseModel):
    """A user."""

    id: str
    email: str
    name: str
    verified: bool = Field(description="Whether the address has been shown to be theirs.")
    has_password: bool = Field(description="False for who signs in through an identity provider only.")
    second_factor: bool
    operator: bool
    created_at: datetime
    disabled_at: datetime | None


class DisabledUserView(UserView):
    """A user who was shut out, and what of theirs goes on."""

    keys: dict[str, int] = Field(
        description="How many API keys that they made still work, by the id of the project that the keys belong to."
    )


class UserPage(BaseModel):
    """Some users, newest first."""

    data: list[UserView]
    next_cursor: str | None


class MeView(BaseModel):
    """Who calls, and what they may do where they are."""

    kind: Literal["key", "user", "service", "system"]
    id: str
    name: str
    user: UserView | None = None
    organization_id: str
    organization_name: str | None = Field(
        default=None, description="null: you are a member of no project, and can look after your own account only."
    )
    project_id: str
    project_name: str | None = None
    permissions: list[str] = Field(
        description="What you may do in this project and its organization; GET /api/v1/me/projects tells it of others."
    )
    csrf: str | None = Field(
        default=None, description="Send it as x-polyforge-csrf with every change that the cookie authenticates."
    )


class SessionView(BaseModel):
    """Where somebody is signed in."""

    id: str
    current: bool
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class SessionPage(BaseModel):
    """Some sessions, newest first."""

    data: list[SessionView]
    next_cursor: str | None


class SignedOut(BaseModel):
    """What was ended."""

    sessions: int
