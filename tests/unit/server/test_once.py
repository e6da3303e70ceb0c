"""Which requests are done once for each key, and what their key is bound to."""

from types import SimpleNamespace
from typing import Any

import pytest

from polyforge.server.once import Once
from polyforge.tenancy.idempotency.service import KeptAnswer

KEPT = KeptAnswer(202, b"application/json", b'{"id":"first"}')


class Asked:
    """Says that every key came before, and remembers what was asked."""

    max_bytes = 1_000

    def __init__(self) -> None:
        self.digests: list[bytes] = []

    async def claim(self, caller: Any, key: bytes, request: bytes) -> KeptAnswer:
        assert key == b"once"
        self.digests.append(request)
        return KEPT


async def answered(
    idempotency: Any, path: str, *, method: str = "POST", key_id: str = "a", body: bytes = b"{}"
) -> bytes:
    """What comes back for a request with a key."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"body": b"begun"})

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    caller = SimpleNamespace(key_id=key_id)
    scope = {
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"idempotency-key", b"once")],
        "state": {"caller": caller},
    }
    await Once(idempotency, 1_000).managed(app)(scope, receive, send)
    return sent[-1]["body"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/batches",
        "/api/v1/flow-runs/run_1/rerun",
        "/api/v1/flow-triggers/t/run",
        "/api/v1/jobs/job_1/retry",
        "/api/v1/jobs/schedules",
        "/api/v1/jobs/schedules/s/run",
        "/api/v1/models",
        "/api/v1/requests/exports",
    ],
)
async def test_what_begins_work_is_begun_once(path: str) -> None:
    assert await answered(Asked(), path) == KEPT.body


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/batches"), ("POST", "/api/v1/keys"), ("POST", "/api/v1/batches/b/cancel")]
)
async def test_nothing_else_is_looked_at(method: str, path: str) -> None:
    assert await answered(Asked(), path, method=method) == b"begun"


async def test_a_key_is_bound_to_its_caller_path_and_body() -> None:
    asked, path = Asked(), "/api/v1/batches"
    for key_id, body, at in [
        ("a", b"{}", path),
        ("b", b"{}", path),
        ("a", b"[]", path),
        ("a", b"{}", "/api/v1/models"),
    ]:
        await answered(asked, at, key_id=key_id, body=body)
    assert len(set(asked.digests)) == 4
