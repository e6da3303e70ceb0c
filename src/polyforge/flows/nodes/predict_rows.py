"""Predictions for rows."""

from polyforge.flows import fields
from polyforge.flows.nodetypes import NodeType, fixed, port

NODE = NodeType(
    type="predict.rows",
    v=1,
    title="Predict",
    description="Has a model for tables predict a column for every row.",
    category="models",
    params=fields.parameters(
        ("model",),
        model=fields.reference("model", "Model"),
        column=fields.text("Column", "What the predictions are called.", least=1, most=200, default="prediction"),
    ),
    ports=fixed({"table": port("table", "Rows")}, {"table": port("table", "Rows with predictions")}),
    capabilities=("models",),
    deterministic=True,
    timeout_s=300,
    unavailable="flows cannot hand tables on in this version yet",
)
