"""What the routes of arriving take and give."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from polyforge.tenancy.keys import MAX_TOKEN_BYTES
from polyforge.tenancy.people.schemas import Body, Chosen, Email
from polyforge.tenancy.people.sign_on.schemas import SignOnProviderView
from polyforge.tenancy.schemas import Name

AdminKeyText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN_BYTES)]


class PasswordRules(BaseModel):
    """How long a password may be; it must not be made of common words, or of its owner's name or address, either."""

    min_length: int
    max_length: int


class AuthState(BaseModel):
    """What a sign-in page needs to know. It tells of nobody, only whether there is anybody."""

    product: str
    version: str
    first_user_needed: bool = Field(
        description="Nobody has an account yet: make the first with the admin key at /api/v1/auth/first-user."
    )
    providers: list[SignOnProviderView] = Field(description="Identity providers to sign in with, beside the password.")
    email: bool = Field(description="Whether messages are e-mailed; else links are files in the data folder's outbox.")
    password: PasswordRules


class FirstUser(Body):
    """The first user, who operates the installation and owns the default organization."""

    key: AdminKeyText = Field(
        description="The admin key: POLYFORGE_ADMIN_KEY, or what the file admin.key in the data folder holds."
    )
    email: Email
    name: Name
    password: Chosen
