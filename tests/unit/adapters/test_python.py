"""Models in Python: what they may declare, how they are called, and what becomes of their mistakes."""

import os
import re
import struct
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyforge.adapters.model_backends.python import Python
from polyforge.kernel.errors import Invalid, NotSupported, PolyforgeError, Unavailable
from polyforge.kernel.tensors import Tensor, pack_strings, unpack_strings
from polyforge.ports.model_backend import ModelRequest, Outputs
from tests.architecture.sources import ROOT
from tests.support.python_models import ask, numbers, order, python_model, wait_for, write_model

PAGE = ROOT / "docs" / "how-to" / "python-models.md"
NUMBERS = """
    class Model:
        inputs = {"x": ("INT64", [-1])}
        outputs = {"y": ("INT64", [-1])}
"""
Load = Callable[..., Python]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads a model with this source."""
    loaded: list[Python] = []

    def new(source: str, **settings: Any) -> Python:
        loaded.append(python_model(write_model(tmp_path / f"model{len(loaded)}", source), **settings))
        loaded[-1].load()
        return loaded[-1]

    yield new
    for backend in loaded:
        backend.close()


def floats(answer: Outputs | PolyforgeError) -> list[float]:
    assert not isinstance(answer, PolyforgeError), answer.message
    return np.frombuffer(bytes(answer[0].data), "<f4").tolist()


def test_the_example_of_the_documentation_works(load: Load) -> None:
    (source, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    model = load(source)
    rows = np.array([[1, 1, 1], [0, 0, 2]], "<f4")
    (answer,) = model.run([ModelRequest({"x": Tensor("x", "FP32", (2, 3), rows.tobytes())}, {})])
    assert floats(answer) == pytest.approx([1, 1])
    assert model.signature.batch_rows == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "there is no class Model"),
        ("def broken(:", "import: SyntaxError"),
        ("import nothing_of_this_name", "import: ModuleNotFoundError"),
        ("class Model: pass", "must declare `inputs`"),
        ("class Model:\n inputs = {'x': 'FP32'}\n", "must declare `inputs`"),
        ("class Model:\n inputs = {}\n", "inputs : at least one"),
        ("class Model:\n inputs = {'x': ('FLOAT', [-1])}\n", "inputs x: at least one, each with a datatype of BOOL"),
        ("class Model:\n inputs = outputs = {'x': ('BF16', [-1])}\n", "x: at least one"),
        (NUMBERS, "neither `predict` nor `stream`"),
        (NUMBERS + "    def __init__(self): raise OSError('no disk')", "Model(): OSError: no disk"),
        (NUMBERS + "        predict = stream = None", "neither `predict` nor `stream`"),
        (
            NUMBERS + "        labels = object\n        def predict(self, x): ...",
            "labels, batch_rows and sequence_idle_seconds: TypeError",
        ),
        (
            NUMBERS + "        stateful = True\n        predict = stream = print",
            "a stateful class Model has `predict` alone",
        ),
        (
            NUMBERS + "        stateful = True\n        sequence_idle_seconds = 0\n        predict = print",
            "sequence_idle_seconds must be above 0",
        ),
        (
            NUMBERS + "        def load(self): raise OSError('no disk')\n        def predict(self, inputs): ...",
            "load: OSError: no disk",
        ),
    ],
)
def test_what_is_wrong_with_it_is_told_when_it_is_loaded(load: Load, source: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        load(re.sub(r"^    def __init__", "        def __init__", source, flags=re.MULTILINE))
    assert refused.value.message.startswith("model.py: ")
    assert words in refused.value.message


def test_a_folder_without_model_py_and_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"there is no model\.py"):
        python_model(tmp_path).load()
    with pytest.raises(Invalid, match="no such interpreter"):
        python_model(write_model(tmp_path / "m"), python=tmp_path / "python").load()
    (tmp_path / "text").write_text("no program")
    with pytest.raises(Unavailable, match="cannot be started"):
        python_model(write_model(tmp_path / "m"), python=tmp_path / "text").load()


def test_one_that_does_not_get_ready_in_time_is_given_up(load: Load) -> None:
    slow = (
        NUMBERS
        + "        def load(self):\n            import time; time.sleep(3600)\n        def predict(self, x): ...\n"
    )
    with pytest.raises(Unavailable, match="it did not get ready"):
        load(slow, start_seconds=1)


def test_one_that_dies_while_it_loads_says_how(load: Load) -> None:
    with pytest.raises(Unavailable, match="SIGSEGV"):
        load("import ctypes\nctypes.string_at(0)\n", instances=2)


def test_parameters_come_to_those_who_have_a_place_for_them(load: Load) -> None:
    model = load(
        NUMBERS
        + """
        def predict(self, inputs, parameters):
            return {"y": inputs["x"] * parameters.get("factor", 1)}
"""
    )
    (answer,) = model.run([ModelRequest(order(3).inputs, {"factor": 5})])
    assert numbers(answer) == [15]
    assert numbers(ask(model, 3)) == [3]


TOGETHER = (
    NUMBERS
    + """
        batch_rows = 8
        def predict(self, inputs):
            if inputs["x"][0] == 7:
                raise KeyError("seven")
            return {"y": inputs["x"]}
        def batch(self, requests):
            if any(inputs["x"][0] == 7 for inputs in requests):
                raise KeyError("seven")
            return [{"y": inputs["x"] + 100 * len(requests)} for inputs in requests]
"""
)


def test_several_requests_are_answered_by_batch_and_one_by_predict(load: Load) -> None:
    model = load(TOGETHER)
    assert model.signature.batch_rows == 8
    assert [numbers(answer) for answer in model.run([order(1), order(2, 3)])] == [[201], [202, 203]]
    assert numbers(ask(model, 4)) == [4]


def test_when_a_batch_fails_it_is_found_out_who_is_to_blame(load: Load) -> None:
    good, bad, other = load(TOGETHER).run([order(1), order(7), order(2)])
    assert (numbers(good), numbers(other)) == ([1], [2])
    assert isinstance(bad, PolyforgeError)
    assert bad.status == 500


@pytest.mark.parametrize(
    "answer",
    [
        "None",
        "{}",
        "{'z': inputs['x']}",
        "{'y': inputs['x'], 'z': inputs['x']}",
        "{'y': inputs['x'][:, None]}",
        "{'y': np.append(inputs['x'], 1)}",
        "{'y': inputs['x'] * 0.5}",
        "{'y': ['text']}",
    ],
)
def test_outputs_that_are_not_as_declared_are_its_own_mistake(load: Load, answer: str) -> None:
    model = load("    import numpy as np\n" + NUMBERS + f"        def predict(self, inputs): return {answer}\n")
    found = ask(model, 1)
    assert isinstance(found, PolyforgeError)
    assert (found.status, found.message) == (500, "the model failed; the log of the model host has the details")


def test_lists_and_other_widths_are_taken_where_nothing_is_lost(load: Load) -> None:
    model = load("    import numpy as np\n" + NUMBERS + "        def predict(self, inputs): return {'y': [5]}\n")
    assert numbers(ask(model, 1)) == [5]
    narrow = load(
        "    import numpy as np\n" + NUMBERS + "        def predict(self, inputs): return {'y': np.int8([-5])}\n"
    )
    assert numbers(ask(narrow, 1)) == [-5]


def test_texts_come_as_bytes_and_leave_as_either(load: Load) -> None:
    model = load(
        """
    class Model:
        inputs = {"t": ("BYTES", [-1, 2])}
        outputs = {"u": ("BYTES", [-1, 2])}
        def predict(self, inputs):
            assert all(type(value) is bytes for value in inputs["t"].reshape(-1))
            return {"u": [[first.decode("latin-1"), second] for first, second in inputs["t"]]}
"""
    )
    texts = [b"caf\xe9", b"\xff\x00", b"", b"x" * 100_000]
    (answer,) = model.run([ModelRequest({"t": Tensor("t", "BYTES", (2, 2), pack_strings(texts))}, {})])
    assert not isinstance(answer, PolyforgeError)
    assert answer[0].shape == (2, 2)
    assert unpack_strings(answer[0].data, 4) == ["café".encode(), b"\xff\x00", b"", b"x" * 100_000]


def test_inputs_without_rows_and_labels_are_told(load: Load) -> None:
    model = load(
        """
    class Model:
        inputs = {"image": ("UINT8", [-1, -1, 3])}
        outputs = {"scores": ("FP64", [2])}
        labels = {"scores": ["cat", "dog"]}
        def predict(self, inputs):
            return {"scores": [inputs["image"].mean(), 0.5]}
"""
    )
    assert (model.signature.batch_rows, model.signature.labels) == (0, {"scores": ("cat", "dog")})
    image = Tensor("image", "UINT8", (1, 2, 3), bytes(range(6)))
    (answer,) = model.run([ModelRequest({"image": image}, {})])
    assert not isinstance(answer, PolyforgeError)
    assert struct.unpack("<2d", answer[0].data) == (2.5, 0.5)


def test_one_that_only_streams_says_so(load: Load) -> None:
    model = load(NUMBERS + "        def stream(self, inputs):\n            yield {'y': inputs['x']}\n")
    assert model.signature.streams
    assert isinstance(ask(model, 1), NotSupported)
    assert [numbers(outputs) for outputs in model.stream(order(1))] == [[1]]


def test_warming_up_may_be_its_own_and_may_fail(load: Load) -> None:
    fine = load(
        NUMBERS + "        def warm_up(self): self.warm = 1\n        def predict(self, x): return {'y': [self.warm]}\n"
    )
    fine.warm_up()
    assert numbers(ask(fine, 0)) == [1]
    with pytest.raises(PolyforgeError, match="the model failed"):
        load(NUMBERS + "        def warm_up(self): raise KeyError(1)\n        def predict(self, x): ...\n").warm_up()


def test_files_beside_it_are_found_and_none_is_written(load: Load, tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "model0",
        "from beside import FACTOR\n"
        "class Model:\n"
        "    inputs = outputs = {'y': ('INT64', [-1])}\n"
        "    def load(self): self.plus = int(open('plus.txt').read())\n"
        "    def predict(self, inputs): return {'y': inputs['y'] * FACTOR + self.plus}\n",
    )
    (folder / "beside.py").write_text("FACTOR = 3\n")
    (folder / "plus.txt").write_text("4")
    model = load((folder / "model.py").read_text())
    (answer,) = model.run([ModelRequest({"y": Tensor("y", "INT64", (1,), struct.pack("<q", 2))}, {})])
    assert numbers(answer) == [10]
    assert sorted(path.name for path in folder.iterdir()) == ["beside.py", "model.py", "plus.txt"]


def test_it_sees_no_keys_of_ours(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    source = (
        "    import os\n" + NUMBERS + "        def predict(self, x): return {'y': ['OPENAI_API_KEY' in os.environ]}\n"
    )
    assert numbers(ask(load(source), 0)) == [0]


def test_an_interpreter_of_its_own_needs_none_of_our_libraries(load: Load, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for path in Path(np.__file__).parents[1].glob("numpy*"):
        os.symlink(path, packages / path.name)
    model = load(
        "    import importlib.util, sys\n"
        + NUMBERS
        + """
        def predict(self, inputs):
            ours = [name for name in ("msgspec", "pydantic", "onnxruntime") if importlib.util.find_spec(name)]
            return {"y": [len(ours)] if sys.prefix != sys.base_prefix else [-1]}
""",
        python=tmp_path / "venv" / "bin" / "python",
    )
    assert numbers(ask(model, 0)) == [0]
    assert sys.executable != str(tmp_path / "venv" / "bin" / "python")


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("BYTES", (1,), b"\x05\x00"),
        ("BYTES", (1,), b"\x05\x00\x00\x00abc"),
        ("BYTES", (3,), pack_strings([b"a", b"b"])),
        ("INT64", (1,), b"abc"),
        ("INT64", (2,), bytes(8)),
    ],
)
def test_inputs_that_are_cut_off_are_the_callers_mistake(
    load: Load, datatype: Any, shape: tuple[int, ...], data: bytes
) -> None:
    source = NUMBERS.replace("INT64", datatype) + "        def predict(self, x): return {'y': x['x']}\n"
    model = load(source + "        def batch(self, all): return [{'y': x['x']} for x in all]\n")
    whole = pack_strings([b"ok"]) if datatype == "BYTES" else bytes(8)
    good = ModelRequest({"x": Tensor("x", datatype, (1,), whole)}, {})
    cut = ModelRequest({"x": Tensor("x", datatype, shape, data)}, {})
    first, refused, last = model.run([good, cut, good])
    assert isinstance(refused, Invalid)
    assert refused.param == "x"
    assert not isinstance(first, PolyforgeError)
    assert not isinstance(last, PolyforgeError)
    assert model.processes.endings == {}


def test_what_is_too_large_for_one_frame_travels_in_several(load: Load) -> None:
    source = """
    class Model:
        inputs = {"image": ("UINT8", [-1, -1])}
        outputs = {"sum": ("INT64", [-1])}
        batch_rows = 64
        def predict(self, inputs):
            return {"sum": inputs["image"][:, :3].sum(axis=1)}
        def batch(self, requests):
            return [self.predict(inputs) for inputs in requests]
"""
    model = load(source)
    large = ModelRequest({"image": Tensor("image", "UINT8", (1, 2**25), b"\1\2\3" + bytes(2**25 - 3))}, {})
    assert [numbers(answer) for answer in model.run([large] * 9)] == [[6]] * 9
    assert model.processes.endings == {}


TOTALS = """
    import os
    import numpy as np

    class Model:
        stateful = True
        sequence_idle_seconds = 5
        inputs = {"x": ("INT64", [1])}
        outputs = {"y": ("INT64", [1]), "pid": ("INT64", [1]), "ended": ("INT64", [1])}
        ended = 0

        def load(self):
            self.totals = {}

        def predict(self, inputs, parameters):
            if inputs["x"][0] < 0:
                os._exit(7)
            name = parameters["sequence_id"]
            self.totals[name] = self.totals.get(name, 0) + inputs["x"][0]
            return {"y": [self.totals[name]], "pid": [os.getpid()], "ended": [self.ended]}

        def end_sequence(self, sequence_id):
            del self.totals[sequence_id]
            self.ended += 1
            if sequence_id == "trouble":
                raise RuntimeError("the store is down")
"""


def test_the_documentation_s_stateful_example_works(load: Load) -> None:
    (source,) = [text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "stateful" in text]
    model = load("import numpy as np\n" + source)
    sums: list[float] = []
    for flags in ({"sequence_start": True}, {}, {"sequence_end": True}):
        x = Tensor("x", "FP32", (1,), struct.pack("<f", 1.5))
        (answer,) = model.run([ModelRequest({"x": x}, {"sequence_id": "a", **flags})])
        sums += floats(answer)
    assert (sums, model.signature.sequence_idle_seconds) == ([1.5, 3.0, 4.5], 300)


def step(
    model: Python, name: int | str, number: int, *flags: str, instance: int = 0, ended: tuple[int | str, ...] = ()
) -> Outputs | PolyforgeError:
    """What a stateful model answers to a request of a sequence."""
    request = ModelRequest(
        order(number).inputs,
        {"sequence_id": name} | dict.fromkeys((f"sequence_{flag}" for flag in flags), True),
        instance,
        ended,
    )
    (answer,) = model.run([request])
    return answer


def test_a_stateful_model_has_an_instance_s_sequences_in_one_process(load: Load) -> None:
    model = load(TOTALS, instances=2)
    signature = model.signature
    assert (signature.stateful, signature.instances, signature.sequence_idle_seconds) == (True, 2, 5)
    begun = [step(model, name, 1, "start", instance=name) for name in (0, 1)]
    assert numbers(begun[0], 1) != numbers(begun[1], 1)
    for turn in range(2, 5):
        for name in (0, 1):
            answer = step(model, name, 10, instance=name)
            assert (numbers(answer), numbers(answer, 1)) == ([turn * 10 - 9], numbers(begun[name], 1))


def test_a_sequence_is_over_after_its_end_its_silence_and_a_new_start(load: Load) -> None:
    model = load(TOTALS)
    step(model, "a", 1, "start")
    assert numbers(step(model, "a", 1, "end")) == [2]
    refused = step(model, "a", 1)
    assert isinstance(refused, Invalid)
    assert refused.param == "parameters.sequence_start"
    step(model, "a", 1, "start")
    assert numbers(step(model, "a", 5, "start")) == [5]
    step(model, "b", 1, "start")
    last = step(model, "b", 1, ended=("a", "never begun"))
    assert (numbers(last), numbers(last, 2)) == ([2], [3])
    assert isinstance(step(model, "a", 1), Invalid)


def test_a_model_that_fails_at_the_end_of_a_sequence_answers_all_the_same(load: Load) -> None:
    model = load(TOTALS)
    assert numbers(step(model, "trouble", 3, "start", "end")) == [3]


def test_what_a_process_knew_of_its_sequences_is_lost_with_it(load: Load) -> None:
    model = load(TOTALS, instances=2)
    step(model, "lost", 1, "start", instance=0)
    step(model, "kept", 1, "start", instance=1)
    crashed = step(model, "lost", -1, instance=0)
    assert isinstance(crashed, Unavailable)
    assert crashed.retry_after
    wait_for(model, lambda facts: facts.living == 2)
    refused = step(model, "lost", 1, instance=0)
    assert isinstance(refused, Invalid)
    assert "begin it anew" in refused.message
    assert numbers(step(model, "kept", 1, instance=1)) == [2]
    assert numbers(step(model, "lost", 7, "start", instance=0)) == [7]
