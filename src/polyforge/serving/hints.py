"""What is known of a model's folder beside its files: what it is for, and how it is to be computed."""

from collections.abc import Mapping
from typing import Any

import msgspec

from polyforge.kernel.tasks import Task


class EngineHints(msgspec.Struct, frozen=True):
    """What chooses an engine for a folder.

    `backend` names the adapter outright; else the files and `task` tell. `settings` are that adapter's own, and what
    it does not know is wrong. `threads` and `batch_rows` are for the engines that know them. `isolated` asks for a
    process of its own; `instances` is how many runs may be under way at once, and so how many processes there are.
    """

    task: Task | None = None
    backend: str | None = None
    settings: Mapping[str, Any] = {}
    threads: int | None = None
    batch_rows: int | None = None
    instances: int | None = None
    isolated: bool = False
