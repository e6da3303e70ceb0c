"""A graph that takes tokens: many texts in few runs, sorted by length, never more padding than computing is worth."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from pydantic import Field

from polyforge.adapters.model_backends.engine.arrays import DTYPES, Array, much_alike
from polyforge.adapters.model_backends.engine.graph import Graph, GraphSettings, Port
from polyforge.adapters.model_backends.engine.tokens import ModelConfig, Row, Vocabulary, read_config, read_vocabulary
from polyforge.kernel.errors import Invalid

ALONE = "runs every text alone"
PADDING = 1.25
"""How much longer than the shortest text of a run its longest may be; on a CPU padding costs as much as text."""
FREE_PADDING = 4
"""Tokens that may be padded whatever the length: a run has costs of its own."""
TRIAL_TEXTS = (
    "a short text",
    "a longer text, that has other words: 1234 numbers, NAMES and many more tokens than the one that is beside it",
    "!!! ??? ...",
)
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

Head = Callable[[Array, Array], Array]
"""From the graph's output for some rows and their mask, both padded, to what is wanted of each row."""


class TextSettings(GraphSettings):
    """Where a graph that takes texts lies and how it is run."""

    max_tokens: int | None = Field(
        default=None, ge=1, description="Longer texts are cut; by default what the model's files say."
    )
    batch_tokens: int = Field(default=4096, ge=1, description="Most tokens in one run, padding included.")


class TextGraph:
    """A graph with its tokenizer. `compute` may be called from several threads at once."""

    def __init__(self, settings: TextSettings) -> None:
        self._settings = settings
        self._graph = Graph(settings)
        self._vocabulary: Vocabulary | None = None
        self._output = ""
        self._batch_rows = 1
        self.config = ModelConfig()
        self.notes: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer; only after `load`."""
        if self._vocabulary is None:
            raise RuntimeError("the model is not loaded")
        return self._vocabulary

    @property
    def batch_rows(self) -> int:
        """How many rows are worth one run; 1 when a row's answer would depend on the others."""
        return self._batch_rows

    def load(self, choose: Callable[[Sequence[Port]], str], head: Head) -> None:
        """Open the graph and the tokenizer; `choose` names the output that `head` then turns into answers.

        Invalid when a file is missing or wrong, or when the graph takes anything but tokens.
        """
        self._graph.load(never_padded=self._is_alone)
        self.config = read_config(self._settings.folder)
        ids = _check_inputs(self._graph.inputs)
        fixed = ids.spec.shape[1]
        self._vocabulary = read_vocabulary(
            self._settings.folder, self.config, asked=self._settings.max_tokens, most=None if fixed < 0 else fixed
        )
        if self._graph.trimmed and (fixed > 0 or not len(self._vocabulary.rows([""])[0].ids)):
            # Padding, or a text of no tokens at all, is masked even alone.
            self._graph.load()
        self._output = choose(self._graph.outputs)
        self._batch_rows, reason = self._batching(ids, head)
        self.notes = (f"{ALONE}: {reason}",) if reason else ()

    def compute(self, rows: Sequence[Row], head: Head) -> list[Array]:
        """What `head` makes of each row, in their order."""
        answers: dict[int, Array] = {}
        lengths = [len(row.ids) for row in rows]
        for group in length_groups(lengths, self._batch_rows, self._settings.batch_tokens):
            answers.update(zip(group, self._run([rows[place] for place in group], head), strict=True))
        return [answers[place] for place in range(len(rows))]

    @property
    def spreads(self) -> bool:
        """Whether one run may be computed by several threads."""
        return self._graph.spreads

    def spread(self, threads: int, alone: Callable[[], bool]) -> None:
        """From now on compute a run with so many threads if `alone` says, as it begins, that no other is under way."""
        self._graph.spread(threads, alone)

    def close(self) -> None:
        """Let go of the sessions."""
        self._graph.close()

    def _run(self, rows: Sequence[Row], head: Head) -> Array:
        feeds, mask = self._feeds(rows)
        try:
            (hidden,) = self._graph.run(feeds, [self._output])
        except Invalid as error:
            # The caller knows of texts; what the graph takes is none of his.
            raise Invalid(error.message, param="text") from error
        if hidden.shape[:1] != (len(rows),):
            raise Invalid(f"the graph gives an array of shape {list(hidden.shape)} for {len(rows)} texts", param="text")
        return head(hidden, mask)

    def _feeds(self, rows: Sequence[Row]) -> tuple[Mapping[str, Array], Array]:
        fixed = self._graph.inputs[0].spec.shape[1]
        length = fixed if fixed > 0 else max(1, *(len(row.ids) for row in rows))
        ids = np.full((len(rows), length), self.vocabulary.padding, np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = row.ids
            types[place, : len(row.ids)] = row.types
            mask[place, : len(row.ids)] = 1
        positions = np.broadcast_to(np.arange(length), ids.shape)
        made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "position_ids": positions}
        ports = (port.spec for port in self._graph.inputs)
        return {spec.name: np.ascontiguousarray(made[spec.name], DTYPES[spec.datatype]) for spec in ports}, mask

    def _is_alone(self) -> bool:
        """Whether every text is computed alone, so that none is padded."""
        return self._settings.batch_rows == 1 or self._graph.batch_dependence() is not None

    def _batching(self, ids: Port, head: Head) -> tuple[int, str | None]:
        rows = self.vocabulary.rows(TRIAL_TEXTS)
        alone = [self._run([row], head)[0] for row in rows]
        if ids.spec.shape[0] == 1:
            return 1, "the graph takes one row at a time"
        if reason := self._graph.batch_dependence():
            return 1, reason
        if self._settings.batch_rows == 1:
            return 1, None
        try:
            together = self._run(rows, head)
        except Invalid:
            return 1, "several texts cannot be computed together"
        for one, other in zip(alone, together, strict=True):
            # What stands for a text that is padded ends with its own tokens.
            if not much_alike(one, other[: len(one)] if one.ndim > 1 else other):
                return 1, "a text's answer changed with the texts beside it in a trial"
        return self._settings.batch_rows, None


def only_scores(outputs: Sequence[Port], *, dimensions: int) -> str:
    """The output with the scores: `logits`, or the only one with so many dimensions; Invalid when there is none."""
    floats = [port.spec for port in outputs if port.spec.datatype in ("FP32", "FP16")]
    fitting = [spec.name for spec in floats if len(spec.shape) in (dimensions, dimensions - 1, 0)]
    if "logits" in fitting:
        return "logits"
    if len(fitting) != 1:
        names = ", ".join(port.spec.name for port in outputs)
        raise Invalid(f"the graph gives {names}; which of them are the scores? They are called logits elsewhere")
    return fitting[0]


def length_groups(lengths: Sequence[int], most_rows: int, most_tokens: int) -> list[list[int]]:
    """Which rows to compute together: of similar lengths, at most so many, and at most so many tokens with padding."""
    groups: list[list[int]] = []
    shortest = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[place]
        group = groups[-1] if groups else []
        fits = len(group) < most_rows and (len(group) + 1) * length <= most_tokens
        if group and fits and length <= shortest * PADDING + FREE_PADDING:
            group.append(place)
        else:
            groups.append([place])
            shortest = length
    return groups


def _check_inputs(ports: Sequence[Port]) -> Port:
    found = {port.spec.name: port for port in ports}
    if "input_ids" not in found:
        raise Invalid(f"the graph takes {', '.join(found)}; a graph for texts takes input_ids")
    for name, port in found.items():
        if name not in _INPUTS:
            raise Invalid(f"the graph takes {name!r} beside tokens, and nothing here can make it")
        if port.spec.datatype == "BYTES" or len(port.spec.shape) != 2:  # noqa: PLR2004  rows and tokens
            raise Invalid(f"the graph's input {name!r} is no table of numbers with a row for each text")
        if port.spec.shape[0] > 1 or port.spec.shape != found["input_ids"].spec.shape:
            raise Invalid(f"the graph's input {name!r} fixes its shape at {list(port.spec.shape)}")
    return found["input_ids"]
