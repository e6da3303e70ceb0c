"""Data below a prefix of a bucket of S3, or of what speaks its API."""

from pydantic import Field

from polyforge.adapters.objects import s3
from polyforge.adapters.objects.remote.store import PREFIX
from polyforge.ports.data_store import check_path


class Settings(s3.Settings):
    """A bucket of S3, or of what speaks its API, and below what of it the data lies."""

    prefix: str = Field(pattern=PREFIX, max_length=500, description="Below what the data lies; paths begin after it.")


class S3Data(s3.S3Objects):
    """The same as for objects, with paths as others make them."""

    def check(self, key: str) -> str:
        """A path as it is; Invalid for what is none."""
        return check_path(key)


ADAPTER = S3Data
