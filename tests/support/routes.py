"""Routes behind a stand-in for the server's middleware, in the process of a test."""

from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from polyforge.kernel.errors import PolyforgeError
from polyforge.tenancy.callers import ALL
from tests.unit.tenancy.samples import caller


class Routes:
    """Some routes below `prefix`; `caller` is who calls, unless `nobody` does."""

    def __init__(self, *routers: APIRouter, prefix: str = "/api/v1") -> None:
        self.caller = caller(ALL)
        self.nobody = False
        self.app = FastAPI()
        for each in routers:
            self.app.include_router(each)
        self.app.exception_handler(PolyforgeError)(_render)
        self.app.middleware("http")(self._identify)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")
        self._prefix = prefix

    async def __call__(self, method: str, path: str, status: int, body: object = None, **options: Any) -> Any:
        """The answer to a request that must have this status."""
        return decoded(await self.ask(method, path, status, body, **options))

    async def ask(self, method: str, path: str, status: int, body: object = None, **options: Any) -> httpx.Response:
        """The same with its headers."""
        if body is not None:
            options["json"] = body
        answer = await self.client.request(method, f"{self._prefix}{path}", **options)
        assert answer.status_code == status, answer.text
        return answer

    async def _identify(self, request: Request, proceed: Any) -> Any:
        if not self.nobody:
            request.state.caller = self.caller
        return await proceed(request)


def decoded(answer: httpx.Response) -> Any:
    """What is in an answer; None where nothing is."""
    return answer.json() if answer.content else None


async def _render(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PolyforgeError)
    return JSONResponse({"code": error.code, "message": error.message, "param": error.param}, error.status)
