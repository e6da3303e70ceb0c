"""Tiny ONNX graphs, made when a test needs them: a few nodes, weights from a seed."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save_model

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
STRING, BOOL = TensorProto.STRING, TensorProto.BOOL
Shape = list[int | str | None] | None


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def graph(
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    nodes: list[NodeProto],
    weights: dict[str, np.ndarray] | None = None,
) -> ModelProto:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8
    )


def write(folder: Path, model: ModelProto, name: str = "model.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, folder / name)
    return folder


def add_one() -> ModelProto:
    """FP32 `x` [n, 3] to `y` = x + 1."""
    return graph(
        {"x": (FLOAT, ["n", 3])},
        {"y": (FLOAT, ["n", 3])},
        [node("Add", ["x", "one"], "y")],
        {"one": np.ones((), np.float32)},
    )


def table(rows: int = 10, width: int = 4) -> ModelProto:
    """INT64 `ids` [n, k] and FP32 `scale` [n] to `mean` [n, 4] of the rows of a table, and BYTES `name` to itself."""
    weights = np.random.default_rng(1).standard_normal((rows, width)).astype(np.float32)
    return graph(
        {"ids": (INT64, ["n", "k"]), "scale": (FLOAT, ["n"]), "name": (STRING, ["n"])},
        {"mean": (FLOAT, ["m", width]), "same": (STRING, ["n"])},
        [
            node("Gather", ["table", "ids"], "rows"),
            node("ReduceMean", ["rows"], "average", axes=[1], keepdims=0),
            node("Unsqueeze", ["scale", "one"], "factor"),
            node("Mul", ["average", "factor"], "mean"),
            node("Identity", ["name"], "same"),
        ],
        {"table": weights, "one": np.array([1])},
    )


def centred(axis: int) -> ModelProto:
    """FP32 `x` [n, k] to `y`: what is left after the mean over `axis` is taken away."""
    return graph(
        {"x": (FLOAT, ["n", "k"])},
        {"y": (FLOAT, ["n", "k"])},
        [node("ReduceMean", ["x"], "mean", axes=[axis], keepdims=1), node("Sub", ["x", "mean"], "y")],
    )


def dynamic_int8(width: int = 8) -> ModelProto:
    """FP32 `x` [n, 8] to `y` [n, 8], multiplied in int8 with one scale for all of `x`."""
    weights = np.random.default_rng(2).integers(-100, 100, (width, width)).astype(np.int8)
    return graph(
        {"x": (FLOAT, ["n", width])},
        {"y": (FLOAT, ["n", width])},
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("MatMulInteger", ["q", "w", "zero"], "product"),
            node("Cast", ["product"], "numbers", to=FLOAT),
            node("Mul", ["numbers", "scale"], "y"),
        ],
        {"w": weights},
    )


def weight_only_int8(width: int = 32) -> ModelProto:
    """FP32 `x` [n, 32] to `y` [n, 8], with weights in int8 and a scale for each block of 32 of them."""
    weights = np.random.default_rng(6).integers(0, 255, (8, width // 32, 32)).astype(np.uint8)
    product = node(
        "MatMulNBits", ["x", "w", "scales"], "y",
        domain="com.microsoft", K=width, N=8, bits=8, block_size=32, accuracy_level=4,
    )  # fmt: skip
    scales = np.full(8 * width // 32, 0.01, np.float32)
    return graph({"x": (FLOAT, ["n", width])}, {"y": (FLOAT, ["n", 8])}, [product], {"w": weights, "scales": scales})


def word_table(words: int, width: int = 4) -> np.ndarray:
    """A vector for each word."""
    return np.random.default_rng(5).standard_normal((words, width)).astype(np.float32)


def word_vectors(
    table: np.ndarray,
    *,
    quantized: bool = False,
    pooled: bool = False,
    masked: bool = True,
    shape: Shape = None,
    integers: int = INT64,
    extra: str | None = None,
    output: str | None = None,
    types: bool = False,
) -> ModelProto:
    """`input_ids` and `attention_mask` [n, s] to `last_hidden_state` [n, s, d], or pooled `sentence_embedding` [n, d].

    Quantised, all its vectors go through int8 with one scale. Not masked, it pools its padding too. `extra` is one more
    input. With `types` there is `token_type_ids`, and the second text counts double.
    """
    size: Shape = shape or ["n", "s"]
    names = ["input_ids", "attention_mask", *([extra] if extra else []), *(["token_type_ids"] if types else [])]
    nodes = [node("Gather", ["table", "input_ids"], "vectors")]
    last = "vectors"
    if types:
        nodes += [
            node("Cast", ["token_type_ids"], "kinds", to=FLOAT),
            node("Add", ["kinds", "unit"], "factors"),
            node("Unsqueeze", ["factors", "two"], "weights"),
            node("Mul", ["vectors", "weights"], "typed"),
        ]
        last = "typed"
    if quantized:
        # Words of very different lengths, so that one of them sets the scale of the others.
        nodes += [
            node("Mul", ["vectors", "lengths"], "spread"),
            helper.make_node("DynamicQuantizeLinear", ["spread"], ["q", "scale", "zero"]),
            node("DequantizeLinear", ["q", "scale", "zero"], "restored"),
        ]
        last = "restored"
    nodes += [node("Cast", ["attention_mask"], "numbers", to=FLOAT), node("Unsqueeze", ["numbers", "two"], "mask")]
    weight = "mask" if masked else "ones"
    if not masked:
        nodes += [node("Mul", ["mask", "none"], "zeros"), node("Add", ["zeros", "unit"], "ones")]
    nodes.append(node("Mul", [last, weight], "weighted"))
    output = output or ("sentence_embedding" if pooled else "last_hidden_state")
    if pooled:
        nodes += [
            node("ReduceSum", ["weighted", "one"], "total", keepdims=0),
            node("ReduceSum", [weight, "one"], "count", keepdims=0),
            node("Div", ["total", "count"], output),
        ]
    else:
        nodes.append(node("Identity", [last], output))
    return graph(
        dict.fromkeys(names, (integers, size)),
        {output: (FLOAT, [size[0], table.shape[1]] if pooled else [*size, table.shape[1]])},
        nodes,
        {
            "table": table,
            "lengths": np.array([100, 1, 1, 1], np.float32),
            "one": np.array([1]),
            "two": np.array([2]),
            "none": np.zeros((), np.float32),
            "unit": np.ones((), np.float32),
        },
    )
