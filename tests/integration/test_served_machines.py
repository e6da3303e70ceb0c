"""A model that was added on one machine answers on every machine of the installation."""

from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.faults.test_budget_race import new_database
from tests.support.postgres import Postgres
from tests.support.server import Key, Polyforge
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually

SECONDS = 90.0


@pytest.fixture(scope="module")
def machines(serve: Serve, postgres: Postgres) -> tuple[Polyforge, Polyforge]:
    """Two, each with a data folder and a host of its own, on one database."""
    url = new_database(postgres)
    first, second = serve({}, database_url=url), serve({}, database_url=url)
    # The key of the one that started last is the administrator's on both.
    first.admin_key = second.admin_key
    return first, second


def width(site: Polyforge, key: Key, model: str) -> int:
    """Of the vectors in an answer; 0 for a refusal."""
    answer = site.call("/v1/embeddings", key=key.key, json={"model": model, "input": "red"})
    return len(answer.json["data"][0]["embedding"]) if answer.status == 200 else 0


def test_every_machine_fetches_a_version_and_moves_its_names(
    machines: tuple[Polyforge, Polyforge], tmp_path: Path
) -> None:
    key = machines[0].create_key()
    for number, size in ((1, 4), (2, 8)):
        body = {"name": "shared", "source": encoder(tmp_path / str(number), size).as_uri(), "promote_to": "production"}
        assert machines[0].api("POST", "/models", body).status == 202
        for site in machines:
            eventually(lambda site=site, size=size: width(site, key, "shared") == size, "it answers", SECONDS)

    def ready() -> bool:
        found = machines[1].api("GET", "/models/shared/versions/2").json
        return [each["state"] for each in found["deployments"]] == ["ready", "ready"] and found["state"] == "ready"

    eventually(ready, "both machines say so", SECONDS)
    artifact = machines[1].api("GET", "/models/shared/versions/2").json["artifact"]
    assert all((site.data / "artifacts" / "artifacts" / artifact).is_dir() for site in machines)
    assert machines[1].api("POST", "/models/shared/rollback", {}).status == 200
    for site in machines:
        eventually(lambda site=site: width(site, key, "shared") == 4, "it is rolled back", SECONDS)
