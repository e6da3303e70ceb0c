"""The Open Inference Protocol against its own description: whatever fits it, or nearly fits it, never gets a 500."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from polyforge.server.open_inference.described import PATH
from tests.conformance.onnx_graphs import add_one, write
from tests.conftest import Serve
from tests.support.server import Polyforge

pytestmark = pytest.mark.integration
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
EXAMPLES = 25
TIMEOUT = 20
Operation = APIOperation[Any, Any, Any, Any]
OPEN = "/v2/health/"
EMBEDDER = "polyforge/static-minilm"
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
LIMITS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW, print_blob=False
)


@pytest.fixture(scope="module")
def server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Polyforge:
    """An installation of its own: its models are loaded and unloaded, and what is generated would crowd others out."""
    repository = tmp_path_factory.mktemp("repository")
    for name in ("plus", "unloaded"):
        write(repository / name / "1", add_one())
    return serve({"serving": {"repository": str(repository)}})


@pytest.fixture(scope="module")
def described(server: Polyforge) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{server.url}{PATH}")


def operations(schema: OpenApiSchema) -> Iterator[Operation]:
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


def named(operation: Operation) -> st.SearchStrategy[str | None]:
    """Mostly models that there are; what is unloaded on the way is not one that the others need."""
    if "{model}" not in operation.path:
        return st.none()
    if operation.path.endswith(("/load", "/unload")):
        return st.sampled_from(["unloaded", None])
    return st.sampled_from(["plus", EMBEDDER, None])


def test_the_description_covers_the_protocol(described: OpenApiSchema) -> None:
    labels = {operation.label for operation in operations(described)}
    assert {"GET /v2", "POST /v2/models/{model}/infer", "POST /v2/repository/index", "GET /v2/models/stats"} <= labels


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_input_is_a_server_error(described: OpenApiSchema, server: Polyforge, mode: GenerationMode) -> None:
    for operation in operations(described):

        @LIMITS
        @given(case=operation.as_strategy(generation_mode=mode), model=named(operation))
        def holds(case: Case[Operation], model: str | None) -> None:
            if model is not None:
                case.path_parameters["model"] = model
            case.call_and_validate(
                checks=CHECKS, headers={"authorization": f"Bearer {server.admin_key}"}, timeout=TIMEOUT
            )

        # Where everything fits, or nothing is taken, there is nothing that does not fit.
        with contextlib.suppress(Unsatisfiable):
            holds()


def test_nothing_is_told_to_those_who_show_no_key(described: OpenApiSchema) -> None:
    for operation in operations(described):
        if operation.path.startswith(OPEN):
            continue

        @settings(LIMITS, max_examples=2)
        @given(case=operation.as_strategy())
        def holds(case: Case[Operation]) -> None:
            assert case.call(headers={"authorization": "Bearer pf-nobody"}, timeout=TIMEOUT).status_code == 401

        holds()
