"""How a version is to be run, as whoever adds it says."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from polyforge.kernel.tasks import Task
from polyforge.registry.settings import Prices
from polyforge.registry.versions.plain_data import Data

DIALOGUES: Final[frozenset[Task]] = frozenset({"chat", "completion"})
RESERVED: Final = ("folder",)
"""Settings of engines that are not for callers to set."""


def _local(task: Task | None) -> Task | None:
    if task in DIALOGUES:
        raise ValueError("is not among what engines here do")
    return task


def _own(options: dict[str, Any]) -> dict[str, Any]:
    if taken := [name for name in RESERVED if name in options]:
        raise ValueError(f"{taken[0]} is not yours to set: a version has its own files")
    return options


class VersionConfiguration(BaseModel):
    """How a version is to be run; what is left out is found by its files, or measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[Task | None, AfterValidator(_local)] = Field(
        default=None, description="What it is for; default: what its files tell."
    )
    backend: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")] | None = Field(
        default=None, description="The engine that computes it; default: what its files call for."
    )
    options: Annotated[Data, AfterValidator(_own)] = Field(
        default={}, description="Settings of the engine's own, such as `file` or `pooling`."
    )
    threads: int | None = Field(default=None, ge=1, le=256, description="Threads of one run.")
    batch_rows: int | None = Field(
        default=None, ge=1, le=65_536, description="Rows of waiting requests that are worth one run; 1: each alone."
    )
    instances: int | None = Field(default=None, ge=1, le=256, description="Runs under way at once.")
    isolated: bool = Field(default=False, description="Run it in a process of its own.")
    keep_warm: bool = Field(default=False, description="Keep it loaded while nobody asks.")
    price: Prices | None = Field(default=None, description="What callers are charged; default: nothing.")

    def written(self) -> dict[str, Any]:
        """What was said, as it is kept."""
        return self.model_dump(mode="json", exclude_defaults=True)
