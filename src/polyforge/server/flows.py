"""The routes of flows over the rooms that a process has of them."""

from fastapi import APIRouter

from polyforge.flows.gallery import api as gallery_api
from polyforge.flows.keeping import api as keeping_api
from polyforge.flows.keeping import node_types_api
from polyforge.flows.publishing import api as publishing_api
from polyforge.flows.running import api as running_api
from polyforge.flows.triggers import api as triggers_api
from polyforge.wiring.flow_runs import FlowRunPlatform
from polyforge.wiring.flow_triggers import TriggerPlatform
from polyforge.wiring.flows import FlowPlatform


def flow_routers(rooms: FlowPlatform) -> list[APIRouter]:
    """Everything under /api/v1 that is about flows."""
    return [
        keeping_api.router(rooms.flows, rooms.drafts, rooms.versions, rooms.aliases, rooms.importing),
        node_types_api.router(rooms.importing),
        gallery_api.router(rooms.templates),
    ]


def flow_run_routers(rooms: FlowRunPlatform, flows: FlowPlatform, site: str) -> list[APIRouter]:
    """Everything under /api/v1 that is about runs of flows, and what they ask of people."""
    return [
        publishing_api.router(flows.flows, flows.publishing, rooms.runs, rooms.streams, rooms.waiters, site),
        running_api.runs_router(rooms.runs, rooms.streams, flows.flows),
        running_api.approvals_router(rooms.approvals, site),
        running_api.approval_links_router(rooms.approvals),
    ]


def flow_trigger_routers(rooms: TriggerPlatform, site: str) -> list[APIRouter]:
    """Everything under /api/v1 that is about what begins runs by itself."""
    return [triggers_api.router(rooms.service, rooms.firings, site)]
