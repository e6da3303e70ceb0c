"""The description of the Open Inference Protocol says what is served, and what each path needs."""

import json
from typing import Any

import pytest

from polyforge.dialects.oip_paths import is_inference, read_model_path
from polyforge.server.open_inference.described import description
from polyforge.tenancy.policy import LEVELS


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return json.loads(description())


def test_every_operation_says_what_it_needs(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation.get("x-permission") in LEVELS or path.startswith("/v2/health/")
            assert ("security" in operation) == ("x-permission" in operation)
            asked = read_model_path(path)
            if asked is not None and is_inference(asked.operation):
                assert operation["x-permission"] == "inference"


def test_names_of_operations_are_their_own(described: dict[str, Any]) -> None:
    names = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names)) >= 20


def test_tensors_are_described(described: dict[str, Any]) -> None:
    tensor = described["components"]["schemas"]["InferTensor"]
    assert tensor["required"] == ["name", "shape", "datatype"]
    assert "FP32" in tensor["properties"]["datatype"]["enum"]
    answer = described["paths"]["/v2/models/{model}/infer"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"$ref": "#/components/schemas/InferenceResponse"}}
