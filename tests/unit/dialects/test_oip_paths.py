"""Paths of the Open Inference Protocol, read from their ends."""

import pytest

from polyforge.dialects.oip_paths import LONGEST_NAME, ModelPath, hosted_path, is_oip, read_model_path

PROJECT = "01M7ZK0NE1RWBFGSRJT5JS94T1"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2/models/m", ModelPath("m", "metadata")),
        ("/v2/models/m/infer", ModelPath("m", "infer")),
        ("/v2/models/m/versions/3", ModelPath("m", "metadata", "3")),
        ("/v2/models/m/versions/3/generate_stream", ModelPath("m", "generate_stream", "3")),
        ("/v2/models/polyforge/static-minilm/infer", ModelPath("polyforge/static-minilm", "infer")),
        ("/v2/models/a/b/versions/1/stats", ModelPath("a/b", "stats", "1")),
        ("/v2/models/versions/infer", ModelPath("versions", "infer")),
        ("/v2/models/ready", ModelPath("ready", "metadata")),
        ("/v2/models/stats", None),
        ("/v2/models/", None),
        ("/v2/models", None),
        ("/v2/health/live", None),
        (f"/v2/models/{'m' * (LONGEST_NAME + 1)}/infer", None),
    ],
)
def test_a_path_says_what_is_asked_of_which_model(path: str, found: ModelPath | None) -> None:
    assert read_model_path(path) == found


def test_only_its_own_paths_are_its() -> None:
    assert [is_oip(path) for path in ("/v2", "/v2/", "/v2/models/m", "/v2x", "/v1/models")] == [True] * 3 + [False] * 2


def test_at_the_host_a_version_is_the_deployments_or_else_the_callers() -> None:
    assert hosted_path("a/b", "infer") == "/v2/models/a%2Fb/infer"
    assert hosted_path("m", "metadata", "3") == "/v2/models/m/versions/3"
    assert hosted_path(f"{PROJECT}.m@2", "ready", "3") == f"/v2/models/{PROJECT}.m/versions/2/ready"
