"""Models of TensorFlow Serving, against a stand-in that speaks its REST API."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from polyforge.adapters.model_backends.tensorflow_serving import Settings, TensorflowServing
from polyforge.kernel.errors import (
    Invalid,
    PolyforgeError,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)
from polyforge.kernel.tensors import Tensor, TensorSpec, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelBackend, ModelRequest
from tests.conformance.model_backends import ModelBackendSuite, outputs_of
from tests.support.tensorflow_serving import TensorFlowServing

FORMS = ("columnar", "rows")


@pytest.fixture
def server() -> Iterator[TensorFlowServing]:
    with TensorFlowServing() as served:
        yield served


@pytest.fixture
def made() -> Iterator[list[TensorflowServing]]:
    backends: list[TensorflowServing] = []
    yield backends
    for backend in backends:
        backend.close()


def request(rows: list[list[float]], *names: bytes) -> ModelRequest:
    array = np.array(rows, np.float32)
    return ModelRequest(
        {
            "x": Tensor("x", "FP32", array.shape, array.tobytes()),
            "name": Tensor("name", "BYTES", (len(names),), pack_strings(names)),
        },
        {},
    )


def vector(*values: float) -> ModelRequest:
    return ModelRequest({"x": Tensor("x", "FP32", (len(values),), np.array(values, np.float32).tobytes())}, {})


def loaded(made: list[TensorflowServing], server: TensorFlowServing, **settings: Any) -> TensorflowServing:
    backend = TensorflowServing(Settings.model_validate({"url": server.url, "model": "m", **settings}))
    made.append(backend)
    backend.load()
    return backend


@pytest.mark.parametrize("form", FORMS)
class TestTensorFlowServing(ModelBackendSuite):
    """Both forms of a request."""

    @pytest.fixture
    def make(self, form: str, server: TensorFlowServing, made: list[TensorflowServing]) -> Callable[[], ModelBackend]:
        def new() -> ModelBackend:
            made.append(TensorflowServing(Settings.model_validate({"url": server.url, "model": "m", "form": form})))
            return made[-1]

        return new

    @pytest.fixture
    def requests(self) -> list[ModelRequest]:
        return [request([[1, 2]], b"a"), request([[3, -4], [5, 6]], b"\xff\x00", "é".encode()), request([[0, 0]], b"")]

    @pytest.fixture
    def wrong(self) -> ModelRequest:
        return request([[1, 2, 3]], b"a")


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_tensor_travels(server: TensorFlowServing, made: list[TensorflowServing], form: str) -> None:
    backend = loaded(made, server, form=form, version="7")
    assert backend.signature.inputs == (TensorSpec("name", "BYTES", (-1,)), TensorSpec("x", "FP32", (-1, 2)))
    assert backend.signature.elsewhere
    (answer,) = backend.run([request([[1.5, -2], [3, 4]], b"a", b"\xff\xfe")])
    outputs = outputs_of(answer)
    assert np.frombuffer(memoryview(outputs["sum"].data)).tolist() == [-0.5, 7]
    assert np.frombuffer(memoryview(outputs["flags"].data), "?").reshape(2, 2).tolist() == [[True, False], [True, True]]
    assert np.frombuffer(memoryview(outputs["count"].data), "<i8").tolist() == [1, 2]
    assert unpack_strings(outputs["raw_bytes"].data, 2) == [b"a", b"\xfe\xff"]
    assert unpack_strings(outputs["greeting"].data, 2)[0] == b"hello a"
    sent = server.requests[-1]
    names = sent["inputs"]["name"] if form == "columnar" else [row["name"] for row in sent["instances"]]
    assert names == ["a", {"b64": "//4="}]


@pytest.mark.parametrize("form", FORMS)
def test_single_tensors_have_no_name_on_the_way(
    server: TensorFlowServing, made: list[TensorflowServing], form: str
) -> None:
    backend = loaded(made, server, signature="half", form=form)
    (answer,) = backend.run([vector(4, 0, np.inf)])
    found = np.frombuffer(memoryview(outputs_of(answer)["y"].data), "<f4")
    np.testing.assert_array_equal(found, np.array([2, np.nan, np.inf], np.float32))
    assert server.requests[-1]["inputs" if form == "columnar" else "instances"] == [4.0, 0.0, np.inf]


def test_what_has_no_rows_goes_by_columns_alone(server: TensorFlowServing, made: list[TensorflowServing]) -> None:
    backend = loaded(made, server, signature="sum")
    assert backend.signature.batch_rows == 0
    assert outputs_of(backend.run([vector(1, 2)])[0])["y"].shape == ()
    with pytest.raises(Invalid, match="no row per case"):
        loaded(made, server, signature="sum", form="rows")


def test_the_key_is_shown(made: list[TensorflowServing]) -> None:
    with TensorFlowServing(key="k-123") as server:
        backend = loaded(made, server, signature="half", key="k-123")
        assert outputs_of(backend.run([vector(2)])[0])
        with pytest.raises(UpstreamFailed, match="answered 401"):
            loaded(made, server, key="another")
    assert "k-123" not in repr(Settings.model_validate({"url": "http://a", "model": "m", "key": "k-123"}))


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"model": "other"}, Unavailable, "not on its server: Could not find any versions"),
        ({"version": "8"}, Unavailable, "not on its server: Could not find any versions"),
        ({"signature": "none"}, Invalid, "it has half, odd, serving_default, sum"),
        ({"signature": "odd"}, Invalid, "DT_RESOURCE, which cannot travel"),
        ({"url": "http://127.0.0.1:1"}, Unavailable, "not running"),
    ],
)
def test_what_cannot_be_served_says_why(
    server: TensorFlowServing,
    made: list[TensorflowServing],
    settings: dict[str, str],
    error: type[PolyforgeError],
    reason: str,
) -> None:
    with pytest.raises(error, match=reason):
        loaded(made, server, **settings)


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ((404, b'{"error": "Servable not found"}'), Unavailable),
        ((503, b'{"error": "busy"}'), Unavailable),
        ((504, b'{"error": "slow"}'), TimedOut),
        ((500, b"<html>"), UpstreamFailed),
        ((200, b"{}"), UpstreamFailed),
        ((200, b'{"outputs": [[1]]}'), UpstreamFailed),
        ((200, b'{"outputs": ["a"]}'), UpstreamFailed),
        ((200, b'{"outputs": {"z": [1]}}'), UpstreamFailed),
        ((200, b"[" * 100_000), UpstreamFailed),
    ],
)
def test_errors_and_nonsense_are_told(
    server: TensorFlowServing,
    made: list[TensorflowServing],
    failing: tuple[int, bytes],
    error: type[PolyforgeError],
) -> None:
    backend = loaded(made, server, signature="half")
    server.failing = failing
    (answer,) = backend.run([vector(1)])
    assert isinstance(answer, error)
    server.failing = None
    assert outputs_of(backend.run([vector(1)])[0])
