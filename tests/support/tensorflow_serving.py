"""A stand-in for TensorFlow Serving that speaks its REST API as documented, with a model written in Python.

https://www.tensorflow.org/tfx/serving/api_rest: paths, both forms of a request, names left out of single tensors,
sizes of dimensions as strings, base64 for outputs whose names end in `_bytes`, errors, and numbers that are none.
"""

import base64
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

VERSION = "7"


def tensor(dtype: str, *sizes: int) -> dict[str, Any]:
    """What the metadata says of a tensor."""
    dimensions = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dimensions, "unknown_rank": False}, "name": "x:0"}


SIGNATURES: dict[str, Any] = {
    "serving_default": {
        "inputs": {"x": tensor("DT_FLOAT", -1, 2), "name": tensor("DT_STRING", -1)},
        "outputs": {
            "sum": tensor("DT_DOUBLE", -1),
            "greeting": tensor("DT_STRING", -1),
            "raw_bytes": tensor("DT_STRING", -1),
            "flags": tensor("DT_BOOL", -1, 2),
            "count": tensor("DT_INT64", -1),
        },
        "method_name": "tensorflow/serving/predict",
    },
    "half": {
        "inputs": {"x": tensor("DT_FLOAT", -1)},
        "outputs": {"y": tensor("DT_FLOAT", -1)},
        "method_name": "tensorflow/serving/predict",
    },
    "sum": {"inputs": {"x": tensor("DT_FLOAT", -1)}, "outputs": {"y": tensor("DT_FLOAT")}, "method_name": ""},
    "odd": {"inputs": {"x": tensor("DT_RESOURCE")}, "outputs": {"y": tensor("DT_FLOAT")}, "method_name": ""},
}


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class TensorFlowServing:
    """Serves the model `m`, version 7, on a free port; `key` is what callers must show, if it is set."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.requests: list[Any] = []
        self.failing: tuple[int, bytes] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, path: str) -> Any:
        """What a GET answers."""
        if path not in (f"/v1/models/m{version}/metadata" for version in ("", f"/versions/{VERSION}")):
            raise Refused(404, f"Could not find any versions of model {path.split('/')[3]}")
        return {
            "model_spec": {"name": "m", "signature_name": "", "version": VERSION},
            "metadata": {"signature_def": {"signature_def": SIGNATURES}},
        }

    def post(self, path: str, body: Any) -> Any:
        """What a predict request answers."""
        if path not in (f"/v1/models/m{version}:predict" for version in ("", f"/versions/{VERSION}")):
            raise Refused(404, "Servable not found for request: Latest(m)")
        if self.failing is not None:
            raise Refused(self.failing[0], "")
        self.requests.append(body)
        signature = body.get("signature_name", "serving_default")
        declared = SIGNATURES.get(signature)
        if declared is None:
            raise Refused(400, f'Serving signature name: "{signature}" not found in signature def')
        names = list(declared["inputs"])
        if "instances" in body:
            rows = [row if isinstance(row, dict) and "b64" not in row else {names[0]: row} for row in body["instances"]]
            outputs = _predict(signature, {name: [_decoded(row[name]) for row in rows] for name in names})
            return {"predictions": _named(outputs, as_rows=True)}
        given = body.get("inputs")
        if given is None:
            raise Refused(400, "Missing 'inputs' or 'instances' key")
        columns = given if isinstance(given, dict) else {names[0]: given}
        if set(columns) != set(names):
            raise Refused(400, f"Failed to get input map for signature: {signature}")
        return {"outputs": _named(_predict(signature, {name: _decoded(columns[name]) for name in names}))}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(lambda: outer.get(self.path))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                self._answer(lambda: outer.post(self.path, json.loads(content)))

            def _answer(self, made: Any) -> None:
                try:
                    if outer.key is not None and self.headers.get("authorization") != f"Bearer {outer.key}":
                        raise Refused(401, "who are you")
                    status, body = 200, json.dumps(made(), indent=4).encode()
                except Refused as refused:
                    status, body = refused.status, json.dumps({"error": refused.message}).encode()
                    if outer.failing is not None:
                        body = outer.failing[1]
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        return Handler


def _predict(signature: str, columns: dict[str, Any]) -> dict[str, Any]:
    if signature == "half":
        return {"y": [value / 2 if value else math.nan for value in columns["x"]]}
    if signature == "sum":
        return {"y": sum(columns["x"])}
    rows, names = columns["x"], columns["name"]
    if any(len(row) != 2 for row in rows) or len(rows) != len(names):
        raise Refused(400, "Matrix size-incompatible: In[0]")
    return {
        "sum": [row[0] + row[1] for row in rows],
        "greeting": [(b"hello " + name).decode("utf-8", "replace") for name in names],
        "raw_bytes": [{"b64": base64.b64encode(name[::-1]).decode()} for name in names],
        "flags": [[value > 0 for value in row] for row in rows],
        "count": [len(name) for name in names],
    }


def _named(outputs: dict[str, Any], *, as_rows: bool = False) -> Any:
    """The outputs as they travel: a single one has no name."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    if not as_rows:
        return outputs
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _decoded(value: Any) -> Any:
    """Strings as bytes, those in base64 too."""
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value
