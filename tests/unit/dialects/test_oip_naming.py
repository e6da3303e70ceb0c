"""What a model host says of a model, under the name that the caller knows."""

import json

from polyforge.dialects import oip
from polyforge.dialects.oip_generate import encode_generated
from polyforge.dialects.oip_naming import hosted_as, renamed_answer, renamed_description, renamed_error
from polyforge.kernel.tensors import Tensor

HOSTED = "01M7ZK0NE1RWBFGSRJT5JS94T1.m"


def test_the_name_in_an_answer_changes_and_nothing_else() -> None:
    raw = f'"model_name":"{HOSTED}"'.encode()
    tensor = Tensor("y", "BYTES", (1,), len(raw).to_bytes(4, "little") + raw)
    message = oip.encode_response(HOSTED, "3", oip.InferRequest({}, id="7", binary=True), [tensor])
    assert message.header_length is not None
    body = renamed_answer(message.join(), HOSTED, "ours")
    longer = len(body) - len(message.join())
    head = json.loads(body[: message.header_length + longer])
    assert (head["model_name"], head["id"]) == ("ours", "7")
    assert body.endswith(bytes(tensor.data))


def test_an_id_that_looks_like_the_field_stays_as_it_is() -> None:
    strange = f'"model_name":"{HOSTED}"'
    body = renamed_answer(encode_generated(HOSTED, "1", strange, []), HOSTED, "ours")
    assert json.loads(body) == {"id": strange, "model_name": "ours", "model_version": "1"}


def test_errors_and_descriptions_tell_the_callers_name() -> None:
    assert (
        renamed_error(f"unexpected shape for model '{HOSTED}'", HOSTED, "ours") == "unexpected shape for model 'ours'"
    )
    names = {HOSTED: "ours"}
    described = {"name": HOSTED, "model_stats": [{"name": HOSTED, "n": 1}, {"name": "other"}]}
    told = renamed_description(described, lambda name: names.get(name, name))
    assert told == {"name": "ours", "model_stats": [{"name": "ours", "n": 1}, {"name": "other"}]}
    assert hosted_as(f"{HOSTED}@3") == HOSTED
    assert hosted_as("plain@3") == "plain@3"
