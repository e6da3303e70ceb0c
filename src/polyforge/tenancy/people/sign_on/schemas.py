"""What the routes of single sign-on give."""

from pydantic import BaseModel, Field


class SignOnProviderView(BaseModel):
    """A way to sign in."""

    name: str
    label: str = Field(description="What to write on the button.")
    start: str = Field(description="Where the button leads to; add `?return_to=/path`.")


class SignOnProviderList(BaseModel):
    """What a sign-in page offers beside the password."""

    data: list[SignOnProviderView]
