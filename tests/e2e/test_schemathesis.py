"""The management API against its own description: whatever fits it, or nearly fits it, never gets a 500."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from polyforge.server.declared import OPEN_PREFIX
from tests.conftest import Serve
from tests.support.server import Polyforge
from tests.support.settings import settings as settings_of
from tests.support.settings import solo
from tests.support.upstream import Upstream

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
EXAMPLES = 20
TIMEOUT = 20
Operation = APIOperation[Any, Any, Any, Any]
ENDLESS = {
    "GET /api/v1/events",
    "GET /api/v1/overview/stream",
    "GET /api/v1/jobs/events",
    "GET /api/v1/jobs/{job_id}/events",
    "GET /api/v1/jobs/{job_id}/logs/stream",
    "GET /api/v1/flow-runs/{run_id}/events",
}
"""Answers that go on for as long as one reads; tests of their own call them with what does not fit."""
ASKS_A_MODEL = "/api/v1/code/"
"""Answers here depend on what a model says, and the scripted one does not say what these need: 502, as it should be."""
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
LIMITS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW, print_blob=False
)


@pytest.fixture(scope="module")
def server(serve: Serve, upstream: Upstream) -> Polyforge:
    """An installation of its own: what is generated here sets limits and budgets, which every caller would feel."""
    return serve(settings_of(upstream, solo("assistant")))


@pytest.fixture(scope="module")
def described(server: Polyforge) -> OpenApiSchema:
    """The API as /api/openapi.json describes it."""
    return schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")


def operations(schema: OpenApiSchema) -> Iterator[Operation]:
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        if found.ok().label not in ENDLESS:
            yield found.ok()


def test_the_description_covers_the_api(described: OpenApiSchema) -> None:
    labels = {operation.label for operation in operations(described)}
    assert {"POST /api/v1/keys", "GET /api/v1/keys", "DELETE /api/v1/keys/{key_id}", "GET /api/v1/usage"} <= labels


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_input_is_a_server_error(described: OpenApiSchema, server: Polyforge, mode: GenerationMode) -> None:
    headers = {"authorization": f"Bearer {server.admin_key}"}
    for operation in operations(described):
        if operation.path.startswith(ASKS_A_MODEL):
            continue

        @LIMITS
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Operation]) -> None:
            case.call_and_validate(checks=CHECKS, headers=headers, timeout=TIMEOUT)

        if mode is GenerationMode.NEGATIVE:
            # Where everything fits, or nothing is taken, there is nothing that does not fit.
            with contextlib.suppress(Unsatisfiable):
                holds()
        else:
            holds()


def test_nothing_is_told_to_those_who_show_no_key(described: OpenApiSchema) -> None:
    for operation in operations(described):
        if operation.path.startswith(OPEN_PREFIX):
            continue

        @settings(LIMITS, max_examples=2)
        @given(case=operation.as_strategy())
        def holds(case: Case[Operation]) -> None:
            assert case.call(headers={"authorization": "Bearer pf-nobody"}, timeout=TIMEOUT).status_code == 401

        holds()
