"""The end user of a request: whom a caller's own customer is, in the caller's words."""

from typing import Final

from polyforge.kernel.errors import Invalid

LONGEST_END_USER: Final = 256


def check_end_user(name: str, param: str) -> str:
    """The name of an end user; Invalid when it is longer than 256 characters."""
    if len(name) > LONGEST_END_USER:
        raise Invalid(f"{param} has {len(name)} characters; at most {LONGEST_END_USER} are taken", param=param)
    return name


def read_end_user(user: str | None, safety_identifier: str | None) -> str:
    """The end user as OpenAI's clients name them, in the newer field or the older; empty when in neither."""
    if safety_identifier:
        return check_end_user(safety_identifier, "safety_identifier")
    return check_end_user(user, "user") if user else ""
