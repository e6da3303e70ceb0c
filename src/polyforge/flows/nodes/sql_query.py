"""Rows out of a database."""

from polyforge.flows import fields
from polyforge.flows.document import Interface
from polyforge.flows.nodetypes import NodeType, Params, Ports, declared_inputs, port


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
        connection=fields.secret("Connection", "The secret that holds the database's URL."),
        query=fields.text("Query", "One SELECT, with `:name` for inputs.", least=1, most=20_000),
        inputs=fields.inputs("What the query has as `:name`, with its types."),
        max_rows=fields.whole("Most rows", least=1, most=10_000, default=1_000),
    ),
    ports=_ports,
    capabilities=("sql",),
)
