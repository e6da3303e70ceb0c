"""The README's first calls, as a newcomer types them: with curl, and without saying that a body is JSON."""

import json
import subprocess
from typing import Any

from tests.support.server import Polyforge


def curl(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = subprocess.run(
        ["curl", "--silent", "--fail-with-body", url, "-H", f"Authorization: Bearer {key}", "-d", json.dumps(body)],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return json.loads(answer.stdout)


def test_first_calls(house: Polyforge) -> None:
    made = curl(
        f"{house.url}/api/v1/keys",
        house.admin_key,
        {"name": "app", "budget_usd": 5, "budget_period": "month", "rpm": 600},
    )
    assert {"id", "key"} <= made.keys()
    asked = {"model": "polyforge/static-minilm", "input": "a cat sat on the mat"}
    answer = curl(f"{house.url}/v1/embeddings", made["key"], asked)
    assert len(answer["data"][0]["embedding"]) == 256
