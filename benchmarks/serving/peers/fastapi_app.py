"""FastAPI as one would write it: an endpoint that is no coroutine runs in a thread, and the session runs in many."""

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from benchmarks.serving.engine import add_one, encoder, port, serves_texts

app = FastAPI()


class Text(BaseModel):
    text: str


class Embedding(BaseModel):
    embedding: list[float]


class Row(BaseModel):
    x: list[float]


class Sum(BaseModel):
    y: list[float]


if serves_texts():
    encode = encoder()

    @app.post("/text")
    def embed(body: Text) -> Embedding:
        return Embedding(embedding=encode([body.text])[0].tolist())

else:
    add = add_one()

    @app.post("/json")
    async def add_json(body: Row) -> Sum:
        """A coroutine, since the model takes less time than handing over to a thread."""
        return Sum(y=add(np.array([body.x], np.float32))[0].tolist())

    @app.post("/binary")
    async def add_binary(request: Request) -> Response:
        rows = np.frombuffer(await request.body(), np.float32)[None]
        return Response(add(rows).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port(), access_log=False, log_level="warning")
