"""Models of CTranslate2: what they answer, and which files are refused before the library sees them."""

import json
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ctranslate2
import numpy as np
import pytest

from polyforge.adapters.model_backends.ctranslate2 import Ctranslate2, Settings
from polyforge.dialects.ctranslate2_model import check_model
from polyforge.kernel.errors import Invalid, NotSupported, PolyforgeError
from polyforge.kernel.tensors import unpack_strings
from polyforge.ports.model_backend import ModelRequest
from tests.conformance import ctranslate2_models
from tests.conformance.model_backends import outputs_of
from tests.conformance.test_ctranslate2_backends import prompts_request
from tests.conformance.test_model_backends import texts_request


def loaded(folder: Path, **settings: Any) -> Ctranslate2:
    backend = Ctranslate2(Settings(folder=folder, **settings))
    backend.load()
    return backend


def texts(backend: Ctranslate2, request: ModelRequest, name: str) -> list[str]:
    tensor = outputs_of(backend.run([request])[0])[name]
    return [text.decode() for text in unpack_strings(tensor.data, tensor.count)]


def counts(backend: Ctranslate2, request: ModelRequest, name: str) -> list[int]:
    return np.frombuffer(memoryview(outputs_of(backend.run([request])[0])[name].data), "<i4").tolist()


STREAMING: dict[str, tuple[Callable[[Path], Path], Callable[..., ModelRequest], str]] = {
    "translator": (ctranslate2_models.write_translator, texts_request, "translation"),
    "generator": (ctranslate2_models.write_generator, prompts_request, "text_output"),
}

# What they answer


def test_a_translator_answers_as_the_library_does(tmp_path: Path) -> None:
    folder = ctranslate2_models.write_translator(tmp_path)
    backend = loaded(folder, instances=1)
    own = ctranslate2.Translator(str(folder), intra_threads=1)
    engine = cast(Any, backend)._loaded
    pieces = engine._source.split("green blue", special=True)
    (expected,) = own.translate_batch([pieces], beam_size=1)
    joined = engine._target.join(expected.hypotheses[0])
    assert texts(backend, texts_request("green blue"), "translation") == [joined]
    assert counts(backend, texts_request("green blue"), "tokens") == [len(pieces)]
    assert counts(backend, texts_request("green blue"), "generated_tokens") == [len(expected.hypotheses[0])]


def test_languages_are_pieces_around_the_text(tmp_path: Path) -> None:
    backend = loaded(ctranslate2_models.write_translator(tmp_path), language="__{}__", source_suffix=("</s>",))
    row = backend._loaded.row("red", {"source_language": "de", "target_language": "de"})
    assert row.pieces[0] == "__de__"
    assert row.pieces[-1] == "</s>"
    assert row.prefix == ("__de__",)
    (answer,) = texts(backend, texts_request("red", target_language="de"), "translation")
    assert "__de__" not in answer


def test_what_answers_with_texts_runs_each_request_alone_unless_told(tmp_path: Path) -> None:
    folder = ctranslate2_models.write_translator(tmp_path / "translator")
    assert loaded(folder).signature.batch_rows == 1
    assert loaded(folder, batch_rows=16).signature.batch_rows == 16
    assert loaded(ctranslate2_models.write_encoder(tmp_path / "encoder")).signature.batch_rows > 1


@pytest.mark.parametrize("kind", ["translator", "generator"])
@pytest.mark.parametrize("given", [("red",), ("green blue",), ("a blue sky", "green", "red red rose")])
def test_a_streamed_answer_is_the_whole_one_in_parts(tmp_path: Path, kind: str, given: tuple[str, ...]) -> None:
    write, request_of, name = STREAMING[kind]
    backend = loaded(write(tmp_path), max_new_tokens=12)
    assert backend.signature.streams
    request = request_of(*given)
    answers = [{tensor.name: tensor for tensor in outputs} for outputs in backend.stream(request)]
    parts = [[text.decode() for text in unpack_strings(each[name].data, each[name].count)] for each in answers]
    assert ["".join(column) for column in zip(*parts, strict=True)] == texts(backend, request, name)
    for counted in ("tokens", "generated_tokens"):
        counted_parts = [np.frombuffer(memoryview(each[counted].data), "<i4") for each in answers]
        assert np.sum(counted_parts, axis=0).tolist() == counts(backend, request, counted)
    assert len(answers) > len(given) or counts(backend, request, "generated_tokens") == [0]


def test_a_stream_that_is_closed_ends_the_models_work(tmp_path: Path) -> None:
    backend = loaded(ctranslate2_models.write_generator(tmp_path), instances=1, max_new_tokens=40)
    whole = list(backend.stream(prompts_request("red")))
    engine = cast(Any, backend)._loaded
    library, steps, leaving = engine._model, [], threading.Event()

    def slowly(step: Any) -> bool:
        steps.append(step)
        if len(steps) > 1:
            leaving.wait(20)
            time.sleep(0.05)
        return False

    class Slow:
        def generate_tokens(self, *arguments: Any, **options: Any) -> Any:
            return library.generate_tokens(*arguments, callback=slowly, **options)

    engine._model = Slow()
    stream = backend.stream(prompts_request("red"))
    assert next(stream) == whole[0]
    leaving.set()
    stream.close()
    done = len(steps)
    assert done < len(whole)
    engine._model = library
    # Its one worker is free, and nothing goes on in it.
    assert list(backend.stream(prompts_request("red"))) == whole
    assert len(steps) == done


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    generator = loaded(ctranslate2_models.write_generator(tmp_path / "generator"), max_new_tokens=8)
    with pytest.raises(Invalid, match="max_tokens"):
        next(generator.stream(prompts_request("red", max_tokens=9)))
    encoder = loaded(ctranslate2_models.write_encoder(tmp_path / "encoder"))
    assert not encoder.signature.streams
    with pytest.raises(NotSupported):
        next(encoder.stream(texts_request("red")))
    assert not loaded(ctranslate2_models.write_translator(tmp_path / "beams"), beam_size=2).signature.streams


def test_a_streamed_translation_leaves_out_what_it_was_told_to_begin_with(tmp_path: Path) -> None:
    backend = loaded(ctranslate2_models.write_translator(tmp_path), language="__{}__", max_new_tokens=6)
    request = texts_request("red", target_language="de")
    parts = [unpack_strings(outputs[0].data, outputs[0].count)[0].decode() for outputs in backend.stream(request)]
    assert "".join(parts) == texts(backend, request, "translation")[0]


def test_a_generator_goes_on_for_as_long_as_it_is_asked(tmp_path: Path) -> None:
    backend = loaded(ctranslate2_models.write_generator(tmp_path), max_new_tokens=20)
    assert counts(backend, prompts_request("red", max_tokens=3), "generated_tokens")[0] <= 3
    (answer,) = texts(backend, prompts_request("red green"), "text_output")
    assert set(answer.split()) <= set(ctranslate2_models.WORDS)
    warm = prompts_request("red green", temperature=1.5, top_k=3, top_p=0.9)
    assert texts(backend, warm, "text_output")


def test_long_texts_are_cut(tmp_path: Path) -> None:
    backend = loaded(ctranslate2_models.write_encoder(tmp_path), max_tokens=5)
    assert counts(backend, texts_request("red " * 50), "tokens") == [5]


def test_vectors_are_pooled_as_told(tmp_path: Path) -> None:
    folder = ctranslate2_models.write_encoder(tmp_path)
    own = ctranslate2.Encoder(str(folder))
    hidden = np.array(own.forward_batch([["red", "blue"]]).last_hidden_state)[0]
    for pooling, expected in (("mean", hidden.mean(axis=0)), ("cls", hidden[0])):
        backend = loaded(folder, pooling=pooling, normalize=False)
        found = outputs_of(backend.run([texts_request("red blue")])[0])["embedding"]
        np.testing.assert_allclose(np.frombuffer(memoryview(found.data), "<f4"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 1.0, "top_p": 2.0}, "top_p"),
        ({"temperature": 1.0, "top_k": "many"}, "top_k"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, asked: dict[str, Any], param: str) -> None:
    (answer,) = loaded(ctranslate2_models.write_generator(tmp_path)).run([prompts_request("red", **asked)])
    assert isinstance(answer, Invalid)
    assert answer.param == param


# What is refused


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def longer(content: bytes) -> bytes:
    return content + b"\0"


def many_variables(content: bytes) -> bytes:
    at = content.index(b"TransformerEncoderSpec\0") + 23 + 4
    return content[:at] + struct.pack("<I", 2**32 - 1) + content[at + 4 :]


def absurd_shape(content: bytes) -> bytes:
    at = content.index(b"embeddings_0/weight\0") + 20 + 1
    return content[:at] + struct.pack("<I", 2**31) + content[at + 4 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut, "cut off"),
        (longer, "follow the end"),
        (lambda content: b"", "empty"),
        (lambda content: b"\x80\x04\x95" + content, "no model of CTranslate2"),
        (lambda content: b"\x03\0\0\0" + content[4:], "version 3"),
        (many_variables, "more than"),
        (absurd_shape, "has 352 bytes"),
        (lambda content: content.replace(b"embeddings_0/weight", b"embeddings_9/weight"), "not found"),
        (lambda content: content.replace(b"TransformerEncoderSpec", b"TransformerUnknownSpec"), "is not served"),
    ],
)
def test_broken_models_are_refused(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    path = ctranslate2_models.write_encoder(tmp_path) / "model.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Invalid, match=reason) as refused:
        loaded(tmp_path)
    assert str(tmp_path) not in refused.value.message


def test_a_vocabulary_beyond_the_table_is_refused(tmp_path: Path) -> None:
    path = ctranslate2_models.write_encoder(tmp_path) / "vocabulary.json"
    path.write_text(json.dumps([*ctranslate2_models.WORDS, *(f"w{number}" for number in range(10_000))]))
    with pytest.raises(Invalid, match=r"has 10011 tokens, and .* only 11"):
        loaded(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("tokenizer.json", b"{}"), ("sentencepiece.model", b"\x80\x04nothing")])
def test_broken_tokenizers_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    folder = ctranslate2_models.write_encoder(tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Invalid, match="there is no tokenizer"):
        loaded(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(Invalid, match=name.replace(".", r"\.")):
        loaded(folder)


def test_a_model_without_its_vocabulary_is_refused(tmp_path: Path) -> None:
    folder = ctranslate2_models.write_encoder(tmp_path)
    (folder / "vocabulary.json").unlink()
    with pytest.raises(PolyforgeError) as refused:
        loaded(folder)
    assert str(tmp_path) not in refused.value.message


def test_other_names_of_variables_must_lead_somewhere() -> None:
    head = struct.pack("<I", 6) + struct.pack("<H", 2) + b"k\0" + struct.pack("<II", 1, 0)
    alias = struct.pack("<I", 1) + struct.pack("<H", 2) + b"a\0" + struct.pack("<H", 2) + b"b\0"
    with pytest.raises(Invalid, match="is not there"):
        check_model(head + alias)
    assert check_model(head + struct.pack("<I", 0)).kind == "k"
