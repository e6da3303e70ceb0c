"""What stands before a model host that is called without a gateway."""

from typing import Any

import pytest

from polyforge.serving.guard import Guard


async def asked(path: str, token: str | None, *headers: tuple[bytes, bytes]) -> int:
    """The status of an answer; 200 where the host was asked."""
    told: list[Any] = []

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        told.append(message)

    app: Any = host
    await Guard(app, token)({"path": path, "headers": list(headers)}, app, send)
    return told[0]["status"]


@pytest.mark.parametrize(
    "header", [(b"authorization", b"Bearer word"), (b"authorization", b"bearer  word"), (b"x-api-key", b"word")]
)
async def test_who_shows_the_token_is_let_through(header: tuple[bytes, bytes]) -> None:
    assert await asked("/v2/models/m/infer", "word", header) == 200


@pytest.mark.parametrize("value", [b"Bearer wrong", b"Bearer", b"Basic word", b"word", b"Bearer w\xc3\xb6rd"])
async def test_nobody_else_is(value: bytes) -> None:
    assert await asked("/v2/models/m/infer", "word", (b"authorization", value)) == 401
    assert await asked("/metrics", "word") == 401


async def test_health_is_open_and_what_the_gateway_asks_is_shut() -> None:
    assert await asked("/v2/health/ready", "word") == 200
    assert await asked("/v2/models/m/infer", None) == 200
    assert await asked("/v2/repository/polyforge/refresh", None) == 404
