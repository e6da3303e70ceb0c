"""What of an answer is held in memory on its way out."""

from types import SimpleNamespace
from typing import Any

from polyforge.server.idempotent import Keeping


async def test_an_answer_that_is_too_large_to_keep_is_not_held() -> None:
    kept: list[object] = []

    async def keep(_claim: object, answer: object) -> None:
        kept.append(answer)

    async def send(_message: object) -> None: ...

    about: Any = SimpleNamespace(max_bytes=10, keep=keep)
    claim: Any = SimpleNamespace()
    keeping = Keeping(about, claim, send, lambda: False)
    await keeping({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(4):
        await keeping({"type": "http.response.body", "body": b"12345", "more_body": True})
    assert keeping._chunks == []
    await keeping({"type": "http.response.body", "body": b""})
    assert kept == [None]
