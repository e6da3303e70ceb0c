"""Which version of a flow is meant."""

import re
from typing import Final

from polyforge.flows.keeping.changing import Looking
from polyforge.flows.keeping.records import (
    DRAFT,
    LATEST,
    LIVE_ALIAS,
    Flow,
    VersionInfo,
    is_alias,
    is_version_prefix,
)
from polyforge.flows.keeping.store import FlowStore
from polyforge.kernel.errors import Conflict, NotFound

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}\Z")


async def choose(looking: Looking, wanted: str | None) -> tuple[VersionInfo, str | None]:
    """A version of a flow, and the alias that led to it.

    `wanted` is an alias, a number, an id or the beginning of one, or `latest`; None: what `prod` points at, else the
    latest. NotFound for what the flow does not have, Conflict where it has no version yet.
    """
    store, flow = looking.store, looking.flow
    if wanted is None:
        live = await store.alias(flow.id, LIVE_ALIAS)
        if live is not None:
            return await _exactly(store, flow, live.version), LIVE_ALIAS
    if wanted is None or wanted == LATEST:
        return await _latest(store, flow), None
    if wanted == DRAFT:
        raise Conflict(f"the draft of {flow.slug!r} is no version; commit it, then name the version")
    if _NUMBER.match(wanted):
        return _there(await store.numbered(flow.id, int(wanted)), flow, wanted), None
    if is_version_prefix(wanted):
        return await _beginning(store, flow, wanted), None
    alias = await store.alias(flow.id, wanted) if is_alias(wanted) else None
    if alias is None:
        raise _absent(flow, wanted)
    return await _exactly(store, flow, alias.version), alias.alias


async def _latest(store: FlowStore, flow: Flow) -> VersionInfo:
    if flow.head is None:
        raise Conflict(f"{flow.slug!r} has no version yet; commit its draft: POST /api/v1/flows/{flow.id}/commit")
    return await _exactly(store, flow, flow.head)


async def _exactly(store: FlowStore, flow: Flow, version: str) -> VersionInfo:
    return _there(await store.version(flow.id, version), flow, version)


async def _beginning(store: FlowStore, flow: Flow, prefix: str) -> VersionInfo:
    candidates = await store.beginning(flow.id, prefix)
    if len(candidates) > 1:
        raise Conflict(f"two versions of {flow.slug!r} begin with {prefix}; write more of its id")
    return _there(candidates[0] if candidates else None, flow, prefix)


def _there(version: VersionInfo | None, flow: Flow, wanted: str) -> VersionInfo:
    if version is None:
        raise _absent(flow, wanted)
    return version


def _absent(flow: Flow, wanted: str) -> NotFound:
    return NotFound(f"{flow.slug!r} has no version, alias or number {wanted[:64]!r}; see its versions and aliases")
