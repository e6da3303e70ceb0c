"""The model host of this machine, as the registry tells it what to serve: a file that it follows, and its socket."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from polyforge.dialects.oip import IndexEntry
from polyforge.egress.oip_client import OipClient
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.registry.deployments.records import HostState, Published
from polyforge.serving.hints import EngineHints
from polyforge.serving.served import ServedModel, read_served, write_served
from polyforge.telemetry.logs import get_logger

_SECONDS: Final = 10.0
_log = get_logger(__name__)


class FollowingHost:
    """Behind a Unix socket; it may be away for a while, and reads the file when it comes back."""

    def __init__(self, path: Path, client: OipClient) -> None:
        self._path = path
        self._client = client
        self._written: tuple[ServedModel, ...] | None = None
        self._told = False

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def published(self) -> Sequence[Published]:
        """What the file says."""
        try:
            served = await asyncio.to_thread(read_served, self._path)
        except Invalid as error:
            _log.error("what was served before is not known", reason=error.message)
            return ()
        return [_published(each) for each in served]

    async def publish(self, models: Sequence[Published]) -> None:
        """Write the file if it says something else, and tell the host until it has heard."""
        served = tuple(served_of(each) for each in models)
        if served != self._written:
            await asyncio.to_thread(write_served, self._path, served)
            self._written, self._told = served, False
        if not self._told:
            await self._tell()

    async def _tell(self) -> None:
        try:
            await self._client.refresh(seconds=_SECONDS)
        except PolyforgeError as error:
            _log.warning("the model host was not told what to serve", reason=error.message)
        else:
            self._told = True

    async def states(self) -> Mapping[str, HostState]:
        """How its models do."""
        entries = await self._client.index(seconds=_SECONDS)
        return {f"{entry.name}@{entry.version}": _state(entry) for entry in entries}


def served_of(model: Published) -> ServedModel:
    """A version as the host reads of it."""
    name, _, version = model.name.rpartition("@")
    hints = hints_of(model.configuration)
    return ServedModel(
        name, version, model.folder, model.digest, hints, keep_warm=bool(model.configuration.get("keep_warm"))
    )


def hints_of(configuration: Mapping[str, Any]) -> EngineHints:
    """What a version's configuration says of its engine."""
    known = {name: value for name, value in configuration.items() if name in EngineHints.__struct_fields__}
    return msgspec.convert({**known, "settings": configuration.get("options", {})}, EngineHints)


def _published(served: ServedModel) -> Published:
    project_id, _, model = served.name.partition(".")
    said = {name: value for name, value in msgspec.to_builtins(served.hints).items() if value}
    said |= {"options": said.pop("settings", {}), "keep_warm": served.keep_warm}
    return Published(project_id, model, int(served.version), served.folder, served.digest, said)


def _state(entry: IndexEntry) -> HostState:
    match entry.state:
        case "READY":
            return HostState("ready")
        case "UNAVAILABLE":
            return HostState("failed", entry.reason)
        case _:
            return HostState("loading", entry.reason)
