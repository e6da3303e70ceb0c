"""The `jobs` section of the settings."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.isolation.apart import Apart
from polyforge.isolation.limits import Limits
from polyforge.jobs.queues import QUEUE_NAME, Queue

DEFAULT_QUEUE: Final = "default"
_START_SECONDS: Final = 60.0


class QueueSettings(BaseModel):
    """How much of a queue runs at once, over all workers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    running: int | None = Field(
        default=None, ge=1, le=10_000, description="Most jobs that run at once, over all workers; `null`: no limit."
    )
    per_project: int | None = Field(
        default=None, ge=1, le=10_000, description="Most jobs of one project that run at once; `null`: no limit."
    )
    per_minute: int | None = Field(
        default=None, ge=1, le=100_000, description="Most jobs that start within a minute; `null`: no limit."
    )


class HeavySettings(BaseModel):
    """Limits of steps that run in a process of their own: what is heavy, or reads files of others, such as Parquet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_once: int = Field(default=2, ge=1, le=256, description="Most of them at once in one worker.")
    memory_bytes: int = Field(
        default=1024**3, ge=64 * 1024**2, description="Memory that one may take; above, it is stopped."
    )
    processor_seconds: int = Field(
        default=900, ge=1, le=86_400, description="Processor time that one may take; above, it is stopped."
    )
    seconds: float = Field(default=1_800.0, gt=0, le=86_400, description="How long one may take.")

    def apart(self) -> Apart:
        """Where they run."""
        limits = Limits(self.memory_bytes, self.seconds, _START_SECONDS, cpu_seconds=self.processor_seconds)
        return Apart(limits, self.at_once)


class JobSettings(BaseModel):
    """How jobs run, on the processes of the role `worker`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(default=8, ge=1, le=256, description="Most jobs that one worker runs at once.")
    queues: dict[str, QueueSettings] = Field(
        default_factory=dict,
        description="Limits of queues by name; a queue that is not named here has none but `concurrency`.",
    )
    heavy: HeavySettings = Field(
        default_factory=HeavySettings, description="Limits of steps that run in a process of their own."
    )
    poll_seconds: float = Field(
        default=0.5, ge=0.1, le=60, description="How often a worker that has room looks for jobs."
    )

    niceness: int = Field(
        default=10,
        ge=0,
        le=19,
        description="How far workers stand back for gateways and models where a machine is busy, as `nice` has it;"
        " 0: not at all.",
    )

    keep_days: int = Field(default=30, ge=1, le=3_650, description="For how long jobs are kept that have ended.")

    @field_validator("queues")
    @classmethod
    def _has_queue_names(cls, queues: dict[str, QueueSettings]) -> dict[str, QueueSettings]:
        for name in queues:
            if not QUEUE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a queue: lower-case letters, digits, - and _, at most 64")
        return queues

    def queue(self, name: str) -> Queue:
        """The limits of a queue, whether or not it is named here."""
        found = self.queues.get(name)
        if found is None:
            return Queue(name)
        return Queue(name, found.running, found.per_project, found.per_minute)
