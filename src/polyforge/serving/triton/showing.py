"""Any model of the host in the words of Triton's configuration, also one that has none."""

from polyforge.dialects import triton_config
from polyforge.dialects.protobuf_schema import Values
from polyforge.serving.repository import HostedModel
from polyforge.serving.triton.backend import ConfiguredBackend
from polyforge.serving.triton.config import tensor_values
from polyforge.serving.triton.ensemble import Ensemble


def configuration_of(model: HostedModel) -> Values:
    """A model's configuration as Triton shows it, completed from its files; Unavailable if it is not ready."""
    signature = model.signature
    if isinstance(model.backend, ConfiguredBackend | Ensemble):
        return triton_config.completed(model.backend.model.values)
    batched = signature.batch_rows > 0
    values: Values = {
        "name": model.name,
        "platform": signature.platform,
        "max_batch_size": (signature.max_rows or signature.batch_rows) if batched else 0,
        "input": [tensor_values(spec, batched=batched) for spec in signature.inputs],
        "output": [tensor_values(spec, batched=batched) for spec in signature.outputs],
    }
    if signature.batch_rows > 1:
        values["dynamic_batching"] = {}
    if signature.streams:
        values["model_transaction_policy"] = {"decoupled": True}
    return triton_config.completed(values)
