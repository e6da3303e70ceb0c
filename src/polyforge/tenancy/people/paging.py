"""Pages of lists that go from the newest id to the oldest."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from polyforge.kernel.errors import Invalid, NotFound
from polyforge.kernel.ids import decode


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_HasId)


def page_of(rows: Sequence[Row], limit: int) -> tuple[list[Row], str | None]:
    """The first `limit` of up to `limit + 1` rows, and the cursor of the next page, None after the last."""
    return list(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None


def check_cursor(cursor: str | None) -> None:
    """Invalid when it is not one that a list gave."""
    if cursor is not None and not is_id(cursor):
        raise Invalid("the cursor is not one that a list gave", param="cursor")


def check_id(id_: str, noun: str) -> None:
    """NotFound when it cannot be an id."""
    if not is_id(id_):
        raise not_found(noun, id_)


def not_found(noun: str, id_: str) -> NotFound:
    """What is said of everything that does not exist or belongs to somebody else."""
    return NotFound(f"there is no {noun} {id_[:40]!r}")


def is_id(text: str) -> bool:
    """Whether a text can be an id."""
    try:
        decode(text)
    except ValueError:
        return False
    return True
