"""What a batch reads and writes in stores of data."""

from pathlib import PurePosixPath
from typing import Final, Literal

import msgspec

from polyforge.kernel.errors import Invalid

Format = Literal["csv", "jsonl", "parquet"]
COLUMNS: Final = ("answer", "error", "input_tokens", "output_tokens", "price_usd")
"""What is added to each row."""
_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A table, what is asked for each of its rows, and where the answers go; all in one store."""

    store: str
    input: str
    output: str
    errors: str
    """Rows that got no answer, where there are any."""
    format: Format
    delimiter: str
    template: str
    """The body of a call, as JSON."""
    prefix: str
    """What the names of added columns begin with."""
    replace: bool
    """Whether to write over what lies there."""

    @property
    def added(self) -> tuple[str, ...]:
        """The names of added columns."""
        return tuple(self.prefix + name for name in COLUMNS)


def format_of(path: str) -> Format:
    """What the name of a file says; Invalid where it says nothing."""
    found = _SUFFIXES.get(PurePosixPath(path).suffix.lower())
    if found is None:
        raise Invalid(f"input: {path!r} ends with none of {', '.join(_SUFFIXES)}; say `format`", param="format")
    return found


def beside(path: str, word: str) -> str:
    """A path in the same folder, with a word before its suffix."""
    whole = PurePosixPath(path)
    return str(whole.with_name(f"{whole.stem}.{word}{whole.suffix}"))
