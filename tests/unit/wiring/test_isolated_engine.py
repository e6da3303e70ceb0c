"""An engine that is asked by frames: what it answers, and what becomes of its failures."""

import struct
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import pytest

from polyforge.adapters.model_backends.engine import child_messages
from polyforge.adapters.model_backends.engine.child_messages import WireProblem
from polyforge.isolation.frames import ASK, Frame
from polyforge.kernel.errors import Invalid, NotSupported, PolyforgeError
from polyforge.kernel.tensors import TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs
from polyforge.wiring.isolated_engine import IsolatedEngine
from tests.unit.serving.backends import POISON, Adder, numbers_of, request_of
from tests.unit.serving.test_streaming import Counter

OUTPUTS: Mapping[str, TensorSpec] = {"y": TensorSpec("y", "INT64", (-1,))}


def asked(do: Literal["warm_up", "run", "stream"], *requests: ModelRequest) -> Frame:
    tensors = [tensor for request in requests for tensor in request.inputs.values()]
    payload = b"".join(child_messages.buffers_of(tensors))
    return Frame(ASK, 1, child_messages.encode_order(do, requests), memoryview(payload))


def read(reply: Any, count: int) -> list[list[int] | PolyforgeError]:
    header, buffers = reply
    found = child_messages.decode_answers(header, memoryview(b"".join(buffers)), OUTPUTS, count)
    return [told(answer) for answer in found]


def told(answer: Outputs | WireProblem) -> list[int] | PolyforgeError:
    return child_messages.error_of(answer) if isinstance(answer, WireProblem) else numbers_of(answer[0])


def run(engine: IsolatedEngine, *requests: ModelRequest) -> list[list[int] | PolyforgeError]:
    return read(engine.answer(asked("run", *requests)), len(requests))


def stream(engine: IsolatedEngine, number: int) -> list[list[int] | PolyforgeError]:
    replies = engine.answer(asked("stream", request_of(number)))
    assert isinstance(replies, Generator)
    return [read(reply, 1)[0] for reply in replies]


def test_its_signature_is_that_of_the_engine() -> None:
    adder = Adder()
    assert child_messages.decode_hello(IsolatedEngine(adder).hello()) == adder.signature


def test_answers_and_refusals_come_back_in_order() -> None:
    first, refused, last = run(IsolatedEngine(Adder()), request_of(1, 2), request_of(-1), request_of(5))
    assert (first, last) == ([2, 3], [6])
    assert isinstance(refused, Invalid)
    assert (refused.message, refused.param) == ("x: must not be negative", "x")


def test_one_that_breaks_the_engine_is_found_out_and_the_others_are_answered(capfd: pytest.CaptureFixture[str]) -> None:
    first, broken, last = run(IsolatedEngine(Adder()), request_of(1), request_of(POISON), request_of(2))
    assert (first, last) == ([2], [3])
    assert isinstance(broken, PolyforgeError)
    assert (broken.status, "poison" in broken.message) == (500, False)
    assert "ValueError: poison" in capfd.readouterr().err


class Cold(Adder):
    """One that cannot be warmed up."""

    def warm_up(self) -> None:
        raise Invalid("too cold")


@pytest.mark.parametrize(("engine", "problems"), [(Adder(), []), (Cold(), ["too cold"])])
def test_warming_up_tells_what_is_wrong(engine: Adder, problems: Sequence[str]) -> None:
    reply = IsolatedEngine(engine).answer(asked("warm_up"))
    assert isinstance(reply, tuple)
    assert [problem.message for problem in child_messages.decode_problems(reply[0])] == problems


def test_a_stream_is_told_answer_by_answer_and_ends_with_what_went_wrong() -> None:
    engine = IsolatedEngine(Counter())
    assert stream(engine, 97) == [[97], [98]]
    *fine, refused = stream(engine, 5)
    assert fine == [[5], [6]]
    assert isinstance(refused, Invalid)
    (*_, broken) = stream(engine, 12)
    assert isinstance(broken, PolyforgeError)
    assert (broken.status, "thirteen" in broken.message) == (500, False)


def test_an_engine_that_does_not_stream_says_so() -> None:
    (refused,) = stream(IsolatedEngine(Adder()), 1)
    assert isinstance(refused, NotSupported)


@pytest.mark.parametrize(
    "answers",
    [
        b"no json",
        b'{"answers":[]}',
        b'{"answers":[{"outputs":[]}]}',
        b'{"answers":[{"outputs":[{"name":"z","datatype":"INT64","shape":[1],"size":8}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"size":8}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"INT64","shape":[2],"size":8}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"INT64","shape":[-1],"size":8}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"size":-8}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"size":16}]}]}',
        b'{"answers":[{"outputs":[{"name":"y","datatype":"INT64","shape":[0],"size":0}]}]}',
    ],
)
def test_answers_that_are_not_as_promised_are_none(answers: bytes) -> None:
    with pytest.raises(child_messages.BrokenAnswer):
        child_messages.decode_answers(answers, memoryview(struct.pack("<q", 1)), OUTPUTS, 1)
