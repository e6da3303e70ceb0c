"""Rows out of a database."""

from typing import Final

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, declared_inputs, port
from polyforge.flows.running.contract import NodeCall, Outputs
from polyforge.kernel.errors import Invalid

_ROWS: Final = 1_000
_SECONDS: Final = 3_600.0
"""The operator's limit is shorter, and so is that of the node."""


def _ports(params: Params, interface: Interface) -> Ports:
    del interface
    rows = {"rows": port("list<record{}>", "Rows"), "count": port("number", "How many rows")}
    return Ports(declared_inputs(params), rows)


NODE = NodeType(
    type="sql.query",
    v=1,
    title="SQL query",
    description="Reads from a database over a connection that cannot write. Inputs are bound as `:name`, never put in.",
    category="data",
    params=fields.parameters(
        ("connection", "query"),
        connection=fields.reference("connection", "Connection", "A database that the operator declared."),
        query=fields.text("Query", "One SELECT, with `:name` for inputs.", least=1, most=20_000),
        inputs=fields.inputs("What the query has as `:name`, with its types."),
        max_rows=fields.whole("Most rows", least=1, most=10_000, default=_ROWS),
    ),
    ports=_ports,
    capabilities=("sql",),
)


async def run(call: NodeCall) -> Outputs:
    """Ask the database."""
    connection = call.params["connection"]["$ref"].partition(":")[2]
    most = call.params.get("max_rows", _ROWS)
    found = await call.facilities.sql.query(
        call.caller, connection, call.params["query"], call.inputs, rows=most, seconds=_SECONDS
    )
    if found.truncated:
        raise Invalid(f"the query finds more than {most} rows; add a LIMIT, or raise `max_rows`", param="max_rows")
    return {"rows": list(found.rows), "count": len(found.rows)}
