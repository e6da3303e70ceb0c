"""The management API against its own description: whatever fits it, or nearly fits it, never gets a 500."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.support.server import Polyforge

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
EXAMPLES = 25
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="session")
def described(house: Polyforge) -> schemathesis.BaseSchema:
    """The API as /api/openapi.json describes it."""
    return schemathesis.openapi.from_url(
        f"{house.url}/api/openapi.json", headers={"authorization": f"Bearer {house.admin_key}"}
    )


api = schemathesis.pytest.from_fixture("described")


@api.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=SLOW,
)
def test_no_input_is_a_server_error(case: schemathesis.Case[Any], house: Polyforge) -> None:
    case.call_and_validate(
        checks=CHECKS, headers={"authorization": f"Bearer {house.admin_key}"}, timeout=20, base_url=house.url
    )


@api.parametrize()
@settings(max_examples=2, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
def test_nothing_is_told_to_those_who_show_no_key(case: schemathesis.Case[Any], house: Polyforge) -> None:
    response = case.call(base_url=house.url, headers={"authorization": "Bearer pf-nobody"}, timeout=20)
    assert response.status_code in (401, 404, 405, 413, 422, 400)
