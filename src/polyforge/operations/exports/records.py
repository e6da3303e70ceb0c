"""What an export of requests is asked for, as its job keeps it, and what comes of it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.tenancy.history.records import Which
from polyforge.tenancy.ledger_rows import DAY_SECONDS

KIND: Final = "requests.export"
QUEUE: Final = "exports"
MOST_DAYS: Final = 400
FILE_DAYS: Final = 7
"""How long the file of an export is kept."""
Format = Literal["csv", "parquet"]


class ExportOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of the job: from when to when, or for schedules how many whole days back."""

    format: Format = "csv"
    since: float | None = None
    until: float | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=MOST_DAYS)] | None = None
    model: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    status: tuple[str, ...] = ()

    def which(self, made_at: float) -> Which:
        """The requests that it is about; Invalid when it says no time. `made_at` is when the job was."""
        since, until = self.since, self.until
        if self.days is not None:
            until = made_at // DAY_SECONDS * DAY_SECONDS
            since = until - self.days * DAY_SECONDS
        if since is None or until is None or since >= until:
            raise Invalid("needs `since` and a later `until`, or `days`", param="args")
        return Which(since=since, until=until, model=self.model, key=self.key, status=self.status)


def order_of(args: Mapping[str, Any]) -> ExportOrder:
    """The arguments of a job; Invalid where they are none."""
    try:
        return msgspec.convert(args, ExportOrder)
    except msgspec.ValidationError as error:
        raise Invalid(f"the arguments of this job are wrong: {error}", param="args") from error


def check_repeated(args: Mapping[str, Any]) -> None:
    """Invalid where no job can have these arguments."""
    order_of(args).which(DAY_SECONDS * MOST_DAYS)


class ExportedFile(msgspec.Struct, frozen=True):
    """What came of it."""

    file_id: str
    """To be fetched as every file is."""
    rows: int
    bytes: int
