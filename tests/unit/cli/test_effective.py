from typing import cast

import pytest

from polyforge.cli.effective import Setting, effective, to_text


def test_every_leaf_is_listed_with_the_origin_of_the_nearest_setting_that_was_given() -> None:
    tree = {"server": {"host": "::1", "port": 1}, "models": {"a": {"deployments": [{"weight": 1.0}]}}, "empty": {}}
    origins = {"server.port": "environment", "models.a.deployments": "file polyforge.yaml"}
    assert effective(tree, origins) == [
        Setting("server.host", "::1", "default"),
        Setting("server.port", 1, "environment"),
        Setting("models.a.deployments.0.weight", 1.0, "file polyforge.yaml"),
        Setting("empty", {}, "default"),
    ]


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("providers.lab.api_key", "whatever it is", "********"),
        ("providers.lab.api_key", "env:LAB_KEY", "env:LAB_KEY"),
        ("providers.lab.headers.Authorization", "Basic abc", "********"),
        ("providers.lab.headers.x-team", "blue", "blue"),
        ("providers.lab.base_url", "http://user:hush@lab/v1", "http://user:********@lab/v1"),
        ("objects.secret_access_key", "whatever it is", "********"),
        ("batches.stores.lake.account_key", "whatever it is", "********"),
        ("database.url", "postgresql://me:hush@db/x", "postgresql://me:********@db/x"),
        ("server.tls.key", "/etc/key.pem", "/etc/key.pem"),
        ("telemetry.otlp_endpoint", "http://collector:4318", "http://collector:4318"),
    ],
)
def test_secrets_are_never_shown_and_everything_else_is(path: str, value: str, shown: str) -> None:
    tree: object = value
    for name in reversed(path.split(".")):
        tree = {name: tree}
    assert effective(cast(dict[str, object], tree), {}) == [Setting(path, shown, "default")]


def test_values_are_written_as_in_yaml() -> None:
    values: list[object] = ["text", None, True, 1.5, {}]
    assert list(map(to_text, values)) == ["text", "null", "true", "1.5", "{}"]
