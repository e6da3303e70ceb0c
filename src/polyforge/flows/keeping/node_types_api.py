"""Routes that tell what flows are made of."""

from typing import Annotated

from fastapi import APIRouter, Depends

from polyforge.flows.document import SCHEMA
from polyforge.flows.keeping.importing import Importing
from polyforge.flows.keeping.schemas import NodePortsBody, NodePortsView, NodeTypePage
from polyforge.flows.keeping.views import node_ports, node_types_view
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("flows:read"))]


def router(importing: Importing) -> APIRouter:
    """The routes under /api/v1/flow-node-types."""
    routes = APIRouter(prefix="/api/v1/flow-node-types", tags=["flows"])

    @routes.get("")
    async def list_flow_node_types(caller: Reader) -> NodeTypePage:
        """Every type of node with the schema of its parameters, the types of ports, and what converts them."""
        del caller
        return node_types_view(importing.types)

    @routes.post("/ports")
    async def tell_flow_node_ports(caller: Reader, body: NodePortsBody) -> NodePortsView:
        """The inputs and outputs that a node has with certain parameters."""
        del caller
        node = {"type": body.type, "v": body.v, "params": body.params}
        document = await importing.load(
            {"schema": SCHEMA, "name": "node", "interface": body.interface, "nodes": {"node": node}}
        )
        return node_ports(document.nodes["node"], document.interface, importing.types)

    return routes
