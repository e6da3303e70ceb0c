"""What callers know a provider's refusal by, whatever the provider calls it."""

import pytest

from polyforge.dialects.azure_errors import decode_error as decode_azure
from polyforge.dialects.openai_errors import decode_error
from polyforge.dialects.upstream_error import Cause, UpstreamError
from polyforge.kernel.errors import UpstreamRefused
from polyforge.upstreams.refusals import refusal


@pytest.mark.parametrize(
    ("cause", "status", "code"),
    [
        ("context", 400, "context_length_exceeded"),
        ("not_found", 404, "model_not_found"),
        ("content", 400, "its_own"),
        (None, 400, "its_own"),
        (None, 404, "its_own"),
    ],
)
def test_refusals_have_one_code_each(cause: Cause | None, status: int, code: str) -> None:
    refused = refusal(status, UpstreamError("no", code="its_own", cause=cause), None, brought=False)
    assert isinstance(refused, UpstreamRefused)
    assert (refused.status, refused.code, refused.message) == (status, code, "no")


def test_missing_models_are_known_as_such() -> None:
    vllm = b'{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}'
    azure = b'{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}'
    assert decode_error(vllm).cause == decode_azure(azure).cause == "not_found"
