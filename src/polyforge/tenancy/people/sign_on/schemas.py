"""What the routes of single sign-on give."""

from pydantic import BaseModel, Field


class ProviderView(BaseModel):
    """A way to sign in."""

    name: str
    label: str = Field(description="What to write on the button.")
    start: str = Field(description="Where the button leads to; add `?return_to=/path`.")


class ProviderList(BaseModel):
    """What a sign-in page offers beside the password."""

    data: list[ProviderView]
