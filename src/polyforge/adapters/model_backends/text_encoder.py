"""Text encoders on ONNX Runtime: embeddings with the pooling, normalisation, prompts and length of the model's files.

Reads what sentence-transformers writes (https://sbert.net: modules.json, 1_Pooling/config.json, 2_Dense,
sentence_bert_config.json, config_sentence_transformers.json) beside tokenizer.json and the graph, and pools as its
`Pooling` does. A graph that gives `sentence_embedding` has all of the model's modules in it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.answering import answer_each
from polyforge.adapters.model_backends.engine.arrays import Array, tensor_of, texts_of
from polyforge.adapters.model_backends.engine.files import inside, read_json
from polyforge.adapters.model_backends.engine.graph import PLATFORM, Port
from polyforge.adapters.model_backends.engine.safetensors import Safetensors
from polyforge.adapters.model_backends.engine.text_graph import TextGraph, TextSettings
from polyforge.adapters.model_backends.engine.tokens import Row
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Parameter, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

INPUT = "text"
OUTPUT = "embedding"
TOKENS = "tokens"
PROMPT = "prompt_name"
WARM_UP_TEXT = "a first text to warm up with"
TINY = np.float32(1e-12)
TOKEN_DIMENSIONS = 3
_FLOATS = ("F16", "F32", "F64")
_POOLED = ("sentence_embedding", "text_embeds", "pooler_output")
_PER_TOKEN = ("last_hidden_state", "token_embeddings")

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""Named as sentence-transformers names them, and in the order in which it joins several."""


class Settings(TextSettings):
    """Where an encoder lies and how it is run."""

    pooling: Pooling | None = Field(
        default=None,
        description="How token vectors become one; by default what the model's files say, else their mean.",
    )
    normalize: bool | None = Field(
        default=None, description="Whether vectors get length 1; by default what the model's files say, else yes."
    )
    shortens: bool | None = Field(
        default=None, description="Whether vectors may be cut to fewer dimensions; by default what config.json says."
    )


class _Module(msgspec.Struct):
    type: str
    path: str = ""


class _PoolingConfig(msgspec.Struct):
    pooling_mode: str | list[str] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    include_prompt: bool = True

    def modes(self) -> tuple[str, ...]:
        if self.pooling_mode is not None:
            return (self.pooling_mode,) if isinstance(self.pooling_mode, str) else tuple(self.pooling_mode)
        flags = {
            "cls": self.pooling_mode_cls_token,
            "max": self.pooling_mode_max_tokens,
            "mean": self.pooling_mode_mean_tokens,
            "mean_sqrt_len_tokens": self.pooling_mode_mean_sqrt_len_tokens,
            "weightedmean": self.pooling_mode_weightedmean_tokens,
            "lasttoken": self.pooling_mode_lasttoken,
        }
        return tuple(mode for mode, chosen in flags.items() if chosen)


class _Prompts(msgspec.Struct):
    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None


class _DenseConfig(msgspec.Struct):
    activation_function: str = "Identity"


class _Dense(msgspec.Struct, frozen=True):
    """A layer behind the pooling."""

    weight: Array
    bias: Array | None
    activation: str

    def __call__(self, vectors: Array) -> Array:
        made = vectors @ self.weight.T
        if self.bias is not None:
            made += self.bias
        return np.tanh(made) if self.activation == "Tanh" else made


class _Plan(msgspec.Struct, frozen=True):
    """What becomes of token vectors; `said` is false when no file of the model says so."""

    modes: tuple[str, ...] = ("mean",)
    dense: tuple[_Dense, ...] = ()
    normalize: bool = True
    said: bool = False
    foreign: str | None = None
    """Why only a graph that has the model's modules in it can stand for them."""


class TextEncoder:
    """One encoder: BYTES `text` [n] to FP32 `embedding` [n, d] and INT32 `tokens` [n].

    The parameter `prompt_name` puts one of the model's prompts before each text; `dimensions` asks for the first so
    many dimensions, normalised again, if the model was trained for it. `tokens` counts what was computed for a text;
    one without any has the zero vector.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._text = TextGraph(settings)
        self._plan = _Plan()
        self._prompts = _Prompts()
        self._pooled = False
        self._width = 0

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        unsaid = () if self._plan.said or self._pooled else ("no file says how to pool: the mean, normalised",)
        return Signature(
            platform=PLATFORM,
            inputs=(TensorSpec(INPUT, "BYTES", (-1,)),),
            outputs=(TensorSpec(OUTPUT, "FP32", (-1, self._width)), TensorSpec(TOKENS, "INT32", (-1,))),
            batch_rows=self._text.batch_rows,
            independent_rows=True,
            spreads=self._text.spreads,
            notes=(*self._text.notes, *unsaid),
        )

    def load(self) -> None:
        """Read the model's files and open the graph; Invalid says which file is wrong."""
        folder = self._settings.folder
        self._plan = _with_settings(_read_plan(folder), self._settings)
        self._prompts = read_json(folder, "config_sentence_transformers.json", _Prompts) or _Prompts()
        self._text.load(self._choose, self._head)
        (vector,) = self._encode(self._text.vocabulary.rows([WARM_UP_TEXT]))
        self._width = len(vector)

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._encode(self._text.vocabulary.rows([WARM_UP_TEXT]))

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """Vectors and token counts of every request, or what is wrong with it."""
        return answer_each(batch, self._read, self._encode, self._write)

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way."""
        self._text.spread(threads, alone)

    def close(self) -> None:
        """Let go of the sessions."""
        self._text.close()

    def _choose(self, outputs: Sequence[Port]) -> str:
        ports = {port.spec.name: port.spec for port in outputs if port.spec.datatype in ("FP32", "FP16")}
        if "sentence_embedding" in ports:
            self._pooled = True
            return "sentence_embedding"
        if self._plan.foreign:
            raise Invalid(f"modules.json: {self._plan.foreign}, and the graph gives no sentence_embedding")
        per_token = [name for name in _PER_TOKEN if name in ports]
        per_token += [name for name, spec in ports.items() if len(spec.shape) == TOKEN_DIMENSIONS]
        pooled = [name for name in _POOLED if name in ports] or (list(ports) if len(ports) == 1 else [])
        if not per_token and not pooled:
            raise Invalid(f"the graph gives {', '.join(port.spec.name for port in outputs)}, and no vectors of texts")
        self._pooled = not per_token
        return (per_token or pooled)[0]

    def _head(self, hidden: Array, mask: Array) -> Array:
        vectors = hidden.astype(np.float32, copy=False)
        if not self._pooled:
            vectors = np.concatenate([pool(mode, vectors, mask) for mode in self._plan.modes], axis=1)
            vectors = _through(self._plan.dense, vectors)
        if vectors.ndim != 2:  # noqa: PLR2004  texts and their dimensions
            raise Invalid("the graph does not give one vector for each text")
        # A text without a single token has nothing to pool; what a graph makes of it may be no number at all.
        vectors = np.where(mask.max(axis=1)[:, None] > 0, vectors, np.float32(0))
        return normalized(vectors) if self._plan.normalize else vectors

    def _encode(self, rows: Sequence[Row]) -> list[Array]:
        return self._text.compute(rows, self._head)

    def _read(self, request: ModelRequest) -> list[Row]:
        self._dimensions(request)
        prompt = self._prompt(request.parameters.get(PROMPT))
        return self._text.vocabulary.rows([prompt + text for text in texts_of(request.inputs[INPUT])])

    def _write(self, request: ModelRequest, rows: Sequence[Row], vectors: list[Array]) -> Outputs:
        width = self._dimensions(request)
        table = np.array(vectors, np.float32).reshape(len(rows), self._width)
        if width < self._width:
            table = normalized(table[:, :width]) if self._plan.normalize else table[:, :width]
        counts = np.array([len(row.ids) for row in rows], np.int32)
        return tensor_of(OUTPUT, "FP32", table), tensor_of(TOKENS, "INT32", counts)

    def _prompt(self, asked: Parameter | None) -> str:
        name = self._prompts.default_prompt_name if asked is None else asked
        if name is None:
            return ""
        if not isinstance(name, str) or name not in self._prompts.prompts:
            known = ", ".join(self._prompts.prompts) or "none"
            raise Invalid(f"{PROMPT}: this model has no prompt {name!r}; it has {known}", param=PROMPT)
        return self._prompts.prompts[name]

    def _dimensions(self, request: ModelRequest) -> int:
        asked = request.parameters.get("dimensions")
        if asked is None:
            return self._width
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= self._width:
            raise Invalid(
                f"dimensions: must be a whole number from 1 to {self._width}, not {asked!r}", param="dimensions"
            )
        config = self._text.config
        shortens = self._settings.shortens
        trained = config.is_matryoshka or config.matryoshka_dimensions is not None
        if asked < self._width and not (trained if shortens is None else shortens):
            raise Invalid(
                f"dimensions: this model's vectors cannot be shortened; leave it out or ask for {self._width}",
                param="dimensions",
            )
        return asked


def pool(mode: str, hidden: Array, mask: Array) -> Array:
    """One vector for each row from those of its tokens, [n, s, d] to [n, d]; the mask says which tokens count."""
    weights = mask[:, :, None].astype(np.float32)
    match mode:
        case "cls":
            return hidden[:, 0]
        case "lasttoken":
            last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
            return hidden[np.arange(len(hidden)), last]
        case "max":
            return np.where(weights > 0, hidden, np.float32(-np.inf)).max(axis=1)
        case "weightedmean":
            weights = weights * np.arange(1, mask.shape[1] + 1, dtype=np.float32)[None, :, None]
            return (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), TINY)
        case _:
            count = np.maximum(weights.sum(axis=1), TINY)
            # A token that does not count may hold anything, infinities too.
            total = np.einsum("nsd,ns->nd", np.where(weights > 0, hidden, np.float32(0)), mask.astype(np.float32))
            return total / (np.sqrt(count) if mode == "mean_sqrt_len_tokens" else count)


def normalized(vectors: Array) -> Array:
    """Every row with length 1; zeros stay zeros."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.maximum(norms, TINY)[:, None]


def _read_plan(folder: Path) -> _Plan:
    modules = read_json(folder, "modules.json", list[_Module])
    if modules is None:
        return _Plan()
    modes: tuple[str, ...] = ()
    dense: list[_Dense] = []
    normalize = False
    foreign: str | None = None
    for module in modules:
        kind = module.type.rpartition(".")[2]
        if normalize:
            foreign = f"{kind} after Normalize is not supported"
        elif kind == "Pooling" and not dense:
            modes = _read_modes(folder, module.path)
        elif kind == "Dense" and modes:
            dense.append(_read_dense(folder, module.path))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            foreign = f"{kind} is not supported"
    return _Plan(modes or ("mean",), tuple(dense), normalize, said=bool(modes), foreign=foreign)


def _read_dense(folder: Path, path: str) -> _Dense:
    config = read_json(folder, f"{path}/config.json", _DenseConfig) or _DenseConfig()
    activation = config.activation_function.rpartition(".")[2]
    if activation not in ("Identity", "Tanh"):
        raise Invalid(f"{path}/config.json: the activation {activation} is not supported")
    name = f"{path}/model.safetensors"
    tensors = Safetensors(inside(folder, folder, name, "modules.json"), name)
    weight = tensors.get("linear.weight", 2, _FLOATS)
    bias = tensors.get("linear.bias", 1, _FLOATS)
    if weight is None or not weight.size or (bias is not None and len(bias) != len(weight)):
        raise Invalid(f"{name}: has no 'linear.weight', or a 'linear.bias' of another size")
    return _Dense(weight.astype(np.float32), None if bias is None else bias.astype(np.float32), activation)


def _through(layers: Sequence[_Dense], vectors: Array) -> Array:
    for layer in layers:
        if layer.weight.shape[1] != vectors.shape[1]:
            raise Invalid(f"modules.json: Dense takes {layer.weight.shape[1]} numbers, and is given {vectors.shape[1]}")
        vectors = layer(vectors)
    return vectors


def _read_modes(folder: Path, path: str) -> tuple[str, ...]:
    name = f"{path}/config.json"
    config = read_json(folder, name, _PoolingConfig)
    if config is None:
        raise Invalid(f"modules.json names {name}, and it is not there")
    modes = config.modes()
    known = get_args(Pooling)
    if not modes or any(mode not in known for mode in modes):
        raise Invalid(f"{name}: asks for {', '.join(modes) or 'no pooling'}; there is {', '.join(known)}")
    if not config.include_prompt:
        raise Invalid(f"{name}: include_prompt false is not supported")
    return modes


def _with_settings(plan: _Plan, settings: Settings) -> _Plan:
    return _Plan(
        modes=plan.modes if settings.pooling is None else (settings.pooling,),
        dense=plan.dense,
        normalize=plan.normalize if settings.normalize is None else settings.normalize,
        said=plan.said or settings.pooling is not None,
        foreign=plan.foreign,
    )


ADAPTER = TextEncoder
