"""What the versions of registered models are called in a model host, so that those of projects never meet.

The host knows a model as `<project id>.<name>`; a deployment of one version is called `<project id>.<name>@<number>`.
"""

import re
from typing import Final

_HOSTED: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\.")
_DEPLOYED: Final = re.compile(r"([0-9A-HJKMNP-TV-Z]{26}\.[A-Za-z0-9._-]{1,128})@([1-9][0-9]{0,9})")


def hosted_name(project_id: str, name: str) -> str:
    """A project's model as its host knows it."""
    return f"{project_id}.{name}"


def deployed_name(project_id: str, name: str, number: int) -> str:
    """One version of it."""
    return f"{hosted_name(project_id, name)}@{number}"


def split_deployed(model: str) -> tuple[str, str] | None:
    """The host's name of a model and the version; None for what is no version of a registered model."""
    found = _DEPLOYED.fullmatch(model)
    return None if found is None else (found[1], found[2])


def is_hosted(name: str) -> bool:
    """Whether a name is one that only the versions of registered models have."""
    return _HOSTED.match(name) is not None
