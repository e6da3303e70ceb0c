"""What guards against masks is taken out of a graph, and not a bit of its answer changes."""

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, checker, helper, load_from_string

from polyforge.dialects.onnx import read_facts
from polyforge.dialects.onnx_rewriting import without_nan_guards
from tests.conformance.onnx_graphs import BOOL, FLOAT, Shape, graph, node

SHAPE: Shape = ["n", 8]
SCORES = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)


def guard(given: str, made: str, name: str) -> list[NodeProto]:
    """A softmax and its guard."""
    return [
        node("Softmax", [given], f"{name}_weights", axis=-1),
        node("IsNaN", [f"{name}_weights"], f"{name}_none"),
        node("Where", [f"{name}_none", "zero", f"{name}_weights"], made),
    ]


def model(nodes: list[NodeProto], **outputs: int) -> ModelProto:
    declared = {name: (kind, SHAPE) for name, kind in {"y": FLOAT, **outputs}.items()}
    weights = {"zero": np.zeros((), np.float32), "many": np.ones(300, np.float32)}
    return graph({"x": (FLOAT, SHAPE)}, declared, nodes, weights)


def answer(content: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": SCORES})[0])


def test_guards_are_taken_out_and_every_bit_of_the_answer_stays() -> None:
    two = [*guard("x", "a", "first"), node("Mul", ["a", "x"], "b"), *guard("b", "y", "second")]
    original = model(two).SerializeToString()
    trimmed = without_nan_guards(original)
    assert trimmed
    checker.check_model(load_from_string(trimmed))
    assert read_facts(trimmed).operators == {"Softmax": 2, "Mul": 1}
    assert np.array_equal(answer(trimmed), answer(original))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Softmax", ["x"], "y")],
        [*guard("x", "a", "first"), node("Add", ["a", "first_weights"], "y")],
        [*guard("x", "a", "first"), node("Where", ["first_none", "x", "a"], "y")],
        [node("IsNaN", ["x"], "none"), node("Where", ["none", "zero", "x"], "y")],
        [
            node("Softmax", ["x"], "weights"),
            node("IsNaN", ["x"], "none"),
            node("Where", ["none", "zero", "weights"], "y"),
        ],
        [
            node("Softmax", ["x"], "weights"),
            node("IsNaN", ["weights"], "none"),
            node("Where", ["none", "weights", "x"], "y"),
        ],
    ],
)
def test_what_is_no_guard_or_is_looked_at_by_others_stays(nodes: list[NodeProto]) -> None:
    assert without_nan_guards(model(nodes).SerializeToString()) is None


def test_what_the_graph_gives_stays() -> None:
    nodes = guard("x", "y", "first")
    assert without_nan_guards(model(nodes, first_weights=FLOAT).SerializeToString()) is None
    assert without_nan_guards(model(nodes, first_none=BOOL).SerializeToString()) is None


def test_a_graph_with_graphs_in_it_stays_since_they_may_look_at_anything() -> None:
    branches = [
        helper.make_graph(
            [node("Identity", ["first_weights"], name)], name, [], [helper.make_tensor_value_info(name, FLOAT, SHAPE)]
        )
        for name in ("yes", "no")
    ]
    choice = helper.make_node("If", ["always"], ["z"], then_branch=branches[0], else_branch=branches[1])
    made = model([*guard("x", "y", "first"), choice], z=FLOAT)
    assert without_nan_guards(made.SerializeToString()) is None


def test_lengths_that_are_written_longer_than_they_need_be_are_left_alone() -> None:
    content = model(guard("x", "y", "first")).SerializeToString()
    size = len(model(guard("x", "y", "first")).graph.SerializeToString())
    short = bytes([7 << 3 | 2, size & 0x7F | 0x80, size >> 7])
    assert content.count(short) == 1
    long = bytes([7 << 3 | 2, size & 0x7F | 0x80, size >> 7 | 0x80, 0])
    assert np.array_equal(answer(content.replace(short, long)), answer(content))
    assert without_nan_guards(content.replace(short, long)) is None
