"""Objects that callers give and that are kept as they are."""

import json
from typing import Annotated, Any, Final

from pydantic import AfterValidator

MAX_DATA_BYTES: Final = 64 * 1024


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """What every database can keep: Python reads NaN and halves of characters, which JSON does not have."""
    try:
        size = len(json.dumps(data, allow_nan=False, ensure_ascii=False).encode())
    except ValueError as error:
        raise ValueError("holds numbers or texts that JSON does not have") from error
    if size > MAX_DATA_BYTES:
        raise ValueError(f"has more than {MAX_DATA_BYTES} bytes as JSON")
    return data


Data = Annotated[dict[str, Any], AfterValidator(plain)]
