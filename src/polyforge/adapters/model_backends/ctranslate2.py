"""Models of CTranslate2: translators, generators and encoders of text, with the tokenizer that lies beside them.

The library lets go of the GIL, and keeps one copy of the weights for as many one-thread workers as there may be runs.
It quantises each row with a scale of its own, so that encoders can compute texts together; a trial on load makes sure.
Model files are checked before the library sees them, since it reads them without looking.
"""

import mmap
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, cast

import ctranslate2  # pyright: ignore[reportMissingTypeStubs]  # it has none
import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from polyforge.adapters.model_backends.engine.answering import answer_each
from polyforge.adapters.model_backends.engine.arrays import Array, much_alike, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.files import inside, read_json
from polyforge.adapters.model_backends.engine.pieces import SOURCE_NAMES, TARGET_NAMES, GrowingText, read_pieces
from polyforge.dialects.ctranslate2_model import ModelFacts, check_model
from polyforge.kernel.errors import Invalid, NotSupported, PolyforgeError
from polyforge.kernel.tensors import Parameter, Tensor, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

PLATFORM = "ctranslate2"
MODEL = "model.bin"
TEXT = "text"
TEXT_INPUT = "text_input"
TEXT_OUTPUT = "text_output"
TRANSLATION = "translation"
EMBEDDING = "embedding"
TOKENS = "tokens"
GENERATED = "generated_tokens"
USUAL_END = "</s>"
OWN_ROWS = 8
"""Texts of one request that are computed at once, unless the settings say otherwise."""
MAX_REASON = 300
TRIAL_TEXTS: Final = ("a first text to warm up with", "another", "a third one, which is longer than the others are")
TRIAL_TOKENS: Final = 8
VOCABULARIES: Final = ("shared_vocabulary.json", "source_vocabulary.json", "target_vocabulary.json", "vocabulary.json")
TINY: Final = np.float32(1e-12)
_ct2 = cast(Any, ctranslate2)


class Settings(BaseModel):
    """Where a model lies and how it is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(description="Folder of the artifact.")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="What computes.")
    compute_type: str = Field(
        default="default", pattern=r"^[a-z0-9_]{1,20}$", description="The type that it computes in, as in `int8`."
    )
    threads: int = Field(default=1, ge=1, le=256, description="Threads per run; 1 is best unless a run is long.")
    instances: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Runs under way at once, which share the weights; default: one per core.",
    )
    batch_rows: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Most texts of several requests in one run; default: 8 for encoders, 1 for what answers with texts,"
        " where the rounding of a larger run may now and then turn one word into another.",
    )
    max_tokens: int = Field(default=512, ge=1, le=1 << 20, description="What is beyond in a text is left out.")
    max_new_tokens: int = Field(
        default=256, ge=1, le=1 << 16, description="Most tokens of an answer; a request may ask for fewer."
    )
    beam_size: int = Field(default=1, ge=1, le=16, description="Beams of a translation; 1 is quickest.")
    source_suffix: tuple[str, ...] = Field(
        default=(), max_length=16, description="Pieces after each text, as in `</s>` for Marian's models."
    )
    language: str = Field(
        default="{}",
        pattern=r"^[^{}]*\{\}[^{}]*$",
        description="The piece for a language, as in `__{}__` for M2M-100; NLLB's are the languages themselves.",
    )
    pooling: Literal["mean", "cls"] = Field(default="mean", description="How an encoder's token vectors become one.")
    normalize: bool = Field(default=True, description="Whether an encoder's vectors get length 1.")


class _Row(msgspec.Struct, frozen=True):
    """One text: its pieces, those that the answer begins with, and how its request wants it answered."""

    pieces: tuple[str, ...]
    prefix: tuple[str, ...] = ()
    options: tuple[tuple[str, float], ...] = ()


class _Answer(msgspec.Struct, frozen=True):
    """What became of one text: another text of so many pieces, or a vector."""

    text: str = ""
    count: int = 0
    vector: Array | None = None


class _Part(msgspec.Struct, frozen=True):
    """A part of one text's answer: so many pieces, and how many were read for it."""

    text: str
    read: int
    count: int


class _Config(msgspec.Struct):
    """What config.json says of the end of an answer."""

    eos_token: str | list[str] = USUAL_END


class _Translator:
    """BYTES `text` [n] to BYTES `translation` [n], INT32 `tokens` [n] and `generated_tokens` [n].

    Parameters: `source_language`, `target_language`, `max_tokens`.
    """

    given = TEXT
    parameters: Final = frozenset({"source_language", "target_language", "max_tokens"})

    def __init__(self, settings: Settings, model: Any) -> None:
        self._settings = settings
        self._model = model
        self._source = read_pieces(settings.folder, SOURCE_NAMES)
        self._target = read_pieces(settings.folder, TARGET_NAMES)
        # What is best among several beams shows at the end.
        self.streams = settings.beam_size == 1
        self.outputs = _text_outputs(TRANSLATION)

    def row(self, text: str, parameters: Mapping[str, Parameter]) -> _Row:
        settings = self._settings
        source, target = (self._language(parameters, name) for name in ("source_language", "target_language"))
        pieces = self._source.split(text, special=not source)[: settings.max_tokens]
        options = (("max_decoding_length", _most(settings, parameters)),)
        return _Row((*source, *pieces, *settings.source_suffix), target, options)

    def compute(self, rows: Sequence[_Row]) -> list[_Answer]:
        prefixes = [list(row.prefix) for row in rows] if rows[0].prefix else None
        found = self._model.translate_batch(
            [list(row.pieces) for row in rows],
            prefixes,
            max_batch_size=self._settings.batch_rows or OWN_ROWS,
            max_input_length=0,
            beam_size=self._settings.beam_size,
            **dict(rows[0].options),
        )
        pieces = [each.hypotheses[0][len(row.prefix) :] for row, each in zip(rows, found, strict=True)]
        return [_Answer(self._target.join(each), len(each)) for each in pieces]

    def steps(self, row: _Row) -> Generator[Any]:
        """The library's steps of one answer, those of its prefix included."""
        prefix = list(row.prefix) or None
        return self._model.generate_tokens(list(row.pieces), prefix, max_input_length=0, **dict(row.options))

    def grow(self) -> GrowingText:
        """A text made of an answer's pieces."""
        return GrowingText(self._target)

    def _language(self, parameters: Mapping[str, Parameter], name: str) -> tuple[str, ...]:
        asked = parameters.get(name)
        if asked is None:
            return ()
        if not isinstance(asked, str) or not 1 <= len(asked) <= 64:  # noqa: PLR2004  no language has a longer name
            raise Invalid(f"{name}: must be the name of a language", param=name)
        return (self._settings.language.format(asked),)


class _Generator:
    """BYTES `text_input` [n] to BYTES `text_output` [n], what goes on, INT32 `tokens` [n] and `generated_tokens` [n].

    The likeliest piece is taken each time unless `temperature` is set. Parameters: `max_tokens`, `temperature`,
    `top_k`, `top_p`.
    """

    given = TEXT_INPUT
    parameters: Final = frozenset({"max_tokens", "temperature", "top_k", "top_p"})
    streams = True

    def __init__(self, settings: Settings, model: Any) -> None:
        self._settings = settings
        self._model = model
        self._pieces = read_pieces(settings.folder, SOURCE_NAMES)
        self.outputs = _text_outputs(TEXT_OUTPUT)

    def row(self, text: str, parameters: Mapping[str, Parameter]) -> _Row:
        settings = self._settings
        # What is near the end matters most to what goes on.
        pieces = self._pieces.split(text, special=True)[-settings.max_tokens :]
        if not pieces:
            raise Invalid(f"{TEXT_INPUT}: a text without a single token cannot be gone on with", param=TEXT_INPUT)
        options: list[tuple[str, float]] = [("max_length", _most(settings, parameters))]
        temperature = _number(parameters, "temperature", 0.0, 0.0, 100.0)
        if temperature > 0:
            options.append(("sampling_temperature", temperature))
            options.append(("sampling_topk", int(_number(parameters, "top_k", 0, 0, 1 << 20))))
            options.append(("sampling_topp", _number(parameters, "top_p", 1.0, 1e-6, 1.0)))
        return _Row((*pieces, *settings.source_suffix), (), tuple(options))

    def compute(self, rows: Sequence[_Row]) -> list[_Answer]:
        found = self._model.generate_batch(
            [list(row.pieces) for row in rows],
            max_batch_size=self._settings.batch_rows or OWN_ROWS,
            include_prompt_in_result=False,
            **dict(rows[0].options),
        )
        pieces = [each.sequences[0] for each in found]
        return [_Answer(self._pieces.join(each), len(each)) for each in pieces]

    def steps(self, row: _Row) -> Generator[Any]:
        """The library's steps of one answer."""
        return self._model.generate_tokens(list(row.pieces), **dict(row.options))

    def grow(self) -> GrowingText:
        """A text made of an answer's pieces."""
        return GrowingText(self._pieces)


class _Encoder:
    """BYTES `text` [n] to FP32 `embedding` [n, d] and INT32 `tokens` [n]."""

    given = TEXT
    parameters: Final = frozenset[str]()
    streams = False

    def __init__(self, settings: Settings, model: Any) -> None:
        self._settings = settings
        self._model = model
        self._pieces = read_pieces(settings.folder, SOURCE_NAMES)
        (answer,) = self.compute([self.row(TRIAL_TEXTS[0], {})])
        width = 0 if answer.vector is None else len(answer.vector)
        self.outputs = (TensorSpec(EMBEDDING, "FP32", (-1, width)), TensorSpec(TOKENS, "INT32", (-1,)))

    def row(self, text: str, parameters: Mapping[str, Parameter]) -> _Row:
        del parameters
        pieces = self._pieces.split(text, special=True)[: self._settings.max_tokens]
        if not pieces:
            raise Invalid(f"{TEXT}: a text without a single token has no vector", param=TEXT)
        return _Row((*pieces, *self._settings.source_suffix))

    def compute(self, rows: Sequence[_Row]) -> list[_Answer]:
        found = self._model.forward_batch([list(row.pieces) for row in rows])
        hidden = np.array(found.last_hidden_state, np.float32)
        return [_Answer(vector=self._pooled(each[: len(row.pieces)])) for row, each in zip(rows, hidden, strict=True)]

    def _pooled(self, tokens: Array) -> Array:
        vector = tokens[0] if self._settings.pooling == "cls" else tokens.mean(axis=0)
        return vector / np.maximum(np.linalg.norm(vector), TINY) if self._settings.normalize else vector


_KINDS: Final[Mapping[str, tuple[str, Callable[[Settings, Any], _Translator | _Generator | _Encoder]]]] = {
    "TransformerSpec": ("Translator", _Translator),
    "TransformerDecoderSpec": ("Generator", _Generator),
    "TransformerEncoderSpec": ("Encoder", _Encoder),
}
"""Kinds of model by their name in the file: the library's class for them, and ours."""


class Ctranslate2:
    """One model; what it takes and gives is that of its kind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: _Translator | _Generator | _Encoder | None = None
        self._note: str | None = None
        self._ends: frozenset[str] = frozenset()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        engine = self._loaded
        return Signature(
            platform=PLATFORM,
            inputs=(TensorSpec(engine.given, "BYTES", (-1,)),),
            outputs=engine.outputs,
            batch_rows=self._batch_rows,
            instances=self._instances,
            notes=(self._note,) if self._note else (),
            streams=engine.streams,
        )

    def load(self) -> None:
        """Check the files, read them and try them; Invalid says which is wrong."""
        folder = self._settings.folder
        facts = _read_facts(folder)
        if facts.kind not in _KINDS:
            raise Invalid(f"{MODEL}: a {facts.kind[:40]} is not served; there are {', '.join(_KINDS)}")
        _check_vocabularies(folder, facts)
        name, kind = _KINDS[facts.kind]
        try:
            model = getattr(_ct2, name)(
                os.fspath(folder),
                device=self._settings.device,
                compute_type=self._settings.compute_type,
                inter_threads=self._instances,
                intra_threads=self._settings.threads,
            )
            self._engine = kind(self._settings, model)
        except (IndexError, RuntimeError, ValueError) as error:
            raise Invalid(f"{MODEL}: {_reason(error, folder)}") from error
        self._ends = _ends_of(folder)
        self._note = self._row_dependence()

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._compute([self._trial_row(TRIAL_TEXTS[0])])

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """What the model makes of every request's texts, or what is wrong with it."""
        return answer_each(batch, self._read, self._compute, self._write)

    def stream(self, request: ModelRequest) -> Generator[Outputs]:
        """An answer in parts, text by text: parts of a text are to be joined, and counts to be added.

        Closing this early ends the model's work after the token that it is at.
        """
        rows = self._read(request)
        for place, row in enumerate(rows):
            for part in self._parts(row):
                yield tuple(_part_tensor(spec, len(rows), place, part) for spec in self._loaded.outputs)

    def close(self) -> None:
        """Let go of the model; what still runs ends first."""
        self._engine = None

    @property
    def _loaded(self) -> "_Translator | _Generator | _Encoder":
        if self._engine is None:
            raise RuntimeError("the model is not loaded")
        return self._engine

    @property
    def _batch_rows(self) -> int:
        usual = OWN_ROWS if isinstance(self._loaded, _Encoder) else 1
        return 1 if self._note else self._settings.batch_rows or usual

    @property
    def _instances(self) -> int:
        return self._settings.instances or _cores()

    def _trial_row(self, text: str) -> _Row:
        most = min(TRIAL_TOKENS, self._settings.max_new_tokens)
        few: dict[str, Parameter] = {"max_tokens": most} if "max_tokens" in self._loaded.parameters else {}
        return self._loaded.row(text, few)

    def _row_dependence(self) -> str | None:
        rows = [self._trial_row(text) for text in TRIAL_TEXTS]
        alone = [self._compute([row])[0] for row in rows]
        together = self._compute(rows)
        if all(_alike(one, other) for one, other in zip(alone, together, strict=True)):
            return None
        return "runs every request alone: a text's answer changed with the texts beside it in a trial"

    def _read(self, request: ModelRequest) -> list[_Row]:
        engine = self._loaded
        return [engine.row(text, request.parameters) for text in texts_of(request.inputs[engine.given])]

    def _compute(self, rows: Sequence[_Row]) -> list[_Answer]:
        """Texts that are to be answered in the same way go together, one by one where that changes their answers."""
        groups: dict[object, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(place if self._note else (row.options, bool(row.prefix)), []).append(place)
        answers: dict[int, _Answer] = {}
        for group in groups.values():
            answers.update(zip(group, self._answered([rows[place] for place in group]), strict=True))
        return [answers[place] for place in range(len(rows))]

    def _parts(self, row: _Row) -> Generator[_Part]:
        """At least one; the first counts what was read."""
        engine = self._loaded
        if isinstance(engine, _Encoder):
            raise NotSupported("an encoder gives one answer to a request")
        text, read, count = engine.grow(), len(row.pieces), 0
        told = False
        for piece in self._pieces_of(engine, row):
            count += 1
            if part := text.add(piece):
                yield _Part(part, 0 if told else read, count)
                told, count = True, 0
        rest = text.end()
        if rest or count or not told:
            yield _Part(rest, 0 if told else read, count)

    def _pieces_of(self, engine: _Translator | _Generator, row: _Row) -> Generator[str]:
        """The pieces of an answer as they come, without what it was told to begin with and the sign of its end."""
        try:
            with closing(engine.steps(row)) as steps:
                for number, step in enumerate(steps):
                    is_end = step.is_last and step.token in self._ends
                    if number >= len(row.prefix) and not is_end:
                        yield step.token
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._cannot(error) from error

    def _answered(self, rows: Sequence[_Row]) -> list[_Answer]:
        try:
            return self._loaded.compute(rows)
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._cannot(error) from error

    def _cannot(self, error: Exception) -> Invalid:
        reason = _reason(error, self._settings.folder)
        return Invalid(f"the model cannot compute this: {reason}", param=self._loaded.given)

    def _write(self, request: ModelRequest, rows: Sequence[_Row], answers: list[_Answer]) -> Outputs:
        del request
        return tuple(_tensor(spec, rows, answers) for spec in self._loaded.outputs)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _tensor(spec: TensorSpec, rows: Sequence[_Row], answers: Sequence[_Answer]) -> Tensor:
    match spec.name:
        case "embedding":
            table = np.array([answer.vector for answer in answers], np.float32).reshape(len(rows), spec.shape[1])
            return tensor_of(spec.name, spec.datatype, table)
        case "tokens":
            return tensor_of(spec.name, spec.datatype, np.array([len(row.pieces) for row in rows], np.int32))
        case "generated_tokens":
            return tensor_of(spec.name, spec.datatype, np.array([answer.count for answer in answers], np.int32))
        case _:
            return tensor_of(spec.name, spec.datatype, np.array([answer.text for answer in answers], object))


def _part_tensor(spec: TensorSpec, rows: int, place: int, part: _Part) -> Tensor:
    """A part of the answer to one of several texts; there is nothing of the others."""
    if spec.datatype == "BYTES":
        texts = [part.text if row == place else "" for row in range(rows)]
        return tensor_of(spec.name, spec.datatype, np.array(texts, object))
    counts = np.zeros(rows, np.int32)
    counts[place] = part.read if spec.name == TOKENS else part.count
    return tensor_of(spec.name, spec.datatype, counts)


def _text_outputs(name: str) -> tuple[TensorSpec, ...]:
    counts = (TensorSpec(TOKENS, "INT32", (-1,)), TensorSpec(GENERATED, "INT32", (-1,)))
    return (TensorSpec(name, "BYTES", (-1,)), *counts)


def _alike(one: _Answer, other: _Answer) -> bool:
    if one.vector is None or other.vector is None:
        return one == other
    return much_alike(one.vector, other.vector)


def _most(settings: Settings, parameters: Mapping[str, Parameter]) -> int:
    return int(_number(parameters, "max_tokens", settings.max_new_tokens, 1, settings.max_new_tokens))


def _number(parameters: Mapping[str, Parameter], name: str, usual: float, least: float, most: float) -> float:
    asked = parameters.get(name, usual)
    if isinstance(asked, bool | str) or not least <= asked <= most:
        raise Invalid(f"{name}: must be a number from {least:g} to {most:g}, not {asked!r:.40}", param=name)
    return asked


def _ends_of(folder: Path) -> frozenset[str]:
    ends = (read_json(folder, "config.json", _Config) or _Config()).eos_token
    return frozenset([ends] if isinstance(ends, str) else ends)


def _read_facts(folder: Path) -> ModelFacts:
    path = inside(folder, folder, MODEL, MODEL)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return check_model(content)
    except Invalid as error:
        raise Invalid(f"{MODEL}: {error.message}") from error
    except ValueError as error:
        raise Invalid(f"{MODEL}: it is empty") from error
    except OSError as error:
        raise Invalid(f"cannot read {MODEL}: {error.strerror}") from error


def _check_vocabularies(folder: Path, facts: ModelFacts) -> None:
    """Tokens are looked up by their place in a vocabulary, so that none may lie beyond the end of the table."""
    tables = {name: shape[0] for name, shape in facts.shapes.items() if "embeddings" in name and len(shape) > 1}
    for file in VOCABULARIES:
        tokens = read_json(folder, file, list[str])
        side = file.partition("_")[0]
        for name, size in tables.items():
            ours = side in ("shared", "vocabulary.json") or name.startswith(
                "encoder" if side == "source" else "decoder"
            )
            if tokens is not None and ours and name.endswith("/weight") and len(tokens) > size:
                raise Invalid(f"{file}: it has {len(tokens)} tokens, and {name} only {size}")


def _reason(error: Exception, folder: Path) -> str:
    """What the library says, without the artifact's place."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(f"{os.fspath(folder)}{os.sep}", "").replace(os.fspath(folder), "the artifact")[:MAX_REASON]


ADAPTER = Ctranslate2
