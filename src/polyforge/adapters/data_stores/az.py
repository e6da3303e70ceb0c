"""Data below a prefix of a container of Azure Blob Storage."""

from pydantic import Field

from polyforge.adapters.objects import az
from polyforge.adapters.objects.remote.store import PREFIX
from polyforge.ports.data_store import check_path


class Settings(az.Settings):
    """A container of Azure Blob Storage, and below what of it the data lies."""

    prefix: str = Field(pattern=PREFIX, max_length=500, description="Below what the data lies; paths begin after it.")


class AzureData(az.AzureObjects):
    """The same as for objects, with paths as others make them."""

    def check(self, key: str) -> str:
        """A path as it is; Invalid for what is none."""
        return check_path(key)


ADAPTER = AzureData
