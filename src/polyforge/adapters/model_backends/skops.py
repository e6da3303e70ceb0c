"""Models of scikit-learn in skops' format: a zip file of JSON and arrays, which names types instead of running code.

Only types that skops trusts of itself may be in it, and classes of scikit-learn that are declared: trees are such, as
scikit-learn follows the indices in them unchecked. Here they are checked; other estimators hold arrays that nobody can
check from outside, so that wiring gives each model a process of its own. Pipelines for texts take texts.

scikit-learn lets go of the GIL in linear algebra, in trees and among neighbours, and holds it in between. What it would
start threads for has one here, since several runs share the cores.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from io import BytesIO
from typing import Any, Final, cast
from zipfile import BadZipFile, ZipFile

# Its threads would fight those of the runs beside it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import skops.io  # pyright: ignore[reportMissingTypeStubs]  # it has none
from pydantic import Field
from sklearn.feature_extraction.text import (  # pyright: ignore[reportMissingTypeStubs]
    CountVectorizer,
    HashingVectorizer,
)

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.adapters.model_backends.engine.files import read_model
from polyforge.adapters.model_backends.engine.sklearn_trees import check_trees
from polyforge.adapters.model_backends.engine.table import (
    FEATURES,
    LABEL,
    PREDICTION,
    PROBABILITIES,
    TRIAL_ROWS,
    TableSettings,
    answer_tables,
    brief_bytes,
    check_columns,
    columns_note,
    likeliest,
    row_dependence,
)
from polyforge.kernel.errors import Invalid, PolyforgeError
from polyforge.kernel.tensors import Datatype, TensorSpec
from polyforge.ports.model_backend import ModelRequest, Outputs, Signature

PLATFORM = "sklearn_skops"
TEXT = "text"
VECTOR = "vector"
TRUSTED_PACKAGE: Final = "sklearn"
HARMLESS: Final = frozenset({"numpy.dtype"})
"""Classes of others that can be declared: imputers hold it."""
ZIP: Final = b"PK\x03\x04"
NO_ZIP: Final = (BadZipFile, ValueError, NotImplementedError)
"""What zipfile raises for content that it cannot read; the last for a version of the format that it does not know."""
MAX_BYTES: Final = 1 << 30
MAX_UNPACKED_BYTES: Final = 1 << 31
MAX_MEMBERS: Final = 100_000
MAX_REASON: Final = 300
TRIAL_TEXTS: Final = ("a first text to warm up with", "another", "a third one, which is longer than the others")
_DATATYPES: Final[dict[str, Datatype]] = {"f": "FP64", "i": "INT64", "u": "INT64", "b": "INT64"}
_skops = cast(Any, skops.io)


class Settings(TableSettings):
    """Where a model lies, and what may be in it."""

    trusted: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Full names of classes of scikit-learn that the file may hold beside those that skops trusts.",
    )
    columns: int | None = Field(
        default=None, ge=1, description="Columns of a row, for models that do not know how many they take."
    )


class Skops:
    """One estimator or pipeline: FP64 `features` [n, columns] or, where it begins with words, BYTES `text` [n].

    Classifiers give FP64 `probabilities` [n, k] and BYTES `label` [n], the likeliest; those without probabilities, the
    label alone. Others give `prediction` [n] or [n, t], FP64 or INT64; what only transforms gives FP64 `vector` [n, d].
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model: Any = None
        self._compute: Callable[[Array], Sequence[Array]] = _nothing
        self._given = TensorSpec(FEATURES, "FP64", (-1, 0))
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; only after `load`."""
        if self._signature is None:
            raise RuntimeError("the model is not loaded")
        return self._signature

    def load(self) -> None:
        """Check the file, read it and try it; Invalid says what is wrong with it."""
        name, content = read_model(self._settings.folder, self._settings.file, (".skops",), lambda _: True, MAX_BYTES)
        try:
            _check_archive(content)
            _check_declared(self._settings.trusted)
            model, notes = _read(content, self._settings.trusted)
            check_trees(model)
            self._prepare(_alone(model))
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}", param=error.param) from error
        sample = self._sample
        answers = self._compute(sample)
        reason = row_dependence(self._compute, sample)
        names = _class_names(model) if self._is_classifier else ()
        self._signature = Signature(
            platform=PLATFORM,
            inputs=(self._given,),
            outputs=self._outputs(answers, names),
            batch_rows=1 if reason else self._settings.batch_rows,
            brief_bytes=0 if self._given.datatype == "BYTES" else brief_bytes(self._compute, sample[:1]),
            labels={PROBABILITIES: names} if len(answers) > 1 else {},
            notes=(*self._column_notes, *notes, *((f"runs every request alone: {reason}",) if reason else ())),
        )

    def warm_up(self) -> None:
        """Run once on made-up input."""
        self._compute(self._sample[:1])

    def run(self, batch: Sequence[ModelRequest]) -> list[Outputs | PolyforgeError]:
        """What the model says to every request, or what is wrong with it."""
        outputs = self.signature.outputs
        if self.signature.batch_rows > 1:
            return answer_tables(batch, self._given, outputs, self._compute)
        return [answer_tables([request], self._given, outputs, self._compute)[0] for request in batch]

    def close(self) -> None:
        """Let go of the model."""
        self._model, self._compute = None, _nothing

    @property
    def _is_classifier(self) -> bool:
        """Whether it tells classes of one kind apart; several kinds at once are predictions like others."""
        classes = getattr(self._model, "classes_", None)
        return isinstance(classes, np.ndarray) and classes.ndim == 1 and hasattr(self._model, "predict")

    @property
    def _column_notes(self) -> tuple[str, ...]:
        return columns_note([str(name) for name in getattr(self._model, "feature_names_in_", ())])

    @property
    def _sample(self) -> Array:
        if self._given.datatype == "BYTES":
            return np.array(TRIAL_TEXTS, object)
        return np.random.default_rng(0).standard_normal((TRIAL_ROWS, self._given.shape[1]))

    def _prepare(self, model: Any) -> None:
        """Find out what it takes and which of its methods answers."""
        self._model = model
        first = model.steps[0][1] if hasattr(model, "steps") and model.steps else model
        if isinstance(first, CountVectorizer | HashingVectorizer):
            self._given = TensorSpec(TEXT, "BYTES", (-1,))
        else:
            columns = self._settings.columns or getattr(model, "n_features_in_", None)
            if not isinstance(columns, int):
                raise Invalid("it does not say how many columns a row has; set `columns`", param="columns")
            self._given = TensorSpec(FEATURES, "FP64", (-1, check_columns(columns, "the model")))
        if not any(hasattr(model, method) for method in ("predict", "transform")):
            raise Invalid(f"{type(model).__name__} neither predicts nor transforms")
        self._compute = self._method()

    def _method(self) -> Callable[[Array], Sequence[Array]]:
        model, asked = self._model, self._asked
        if self._is_classifier and hasattr(model, "predict_proba"):
            names = _class_names(model)

            def classify(table: Array) -> Sequence[Array]:
                probabilities = asked(model.predict_proba, table)
                return probabilities, likeliest(names, probabilities)

            return classify
        if self._is_classifier:
            return lambda table: (asked(model.predict, table).astype(str).astype(object),)
        if hasattr(model, "predict"):
            return lambda table: (asked(model.predict, table),)
        return lambda table: (asked(model.transform, table),)

    def _asked(self, method: Callable[[Any], Any], table: Array) -> Array:
        try:
            # What it makes of words is mostly zeros, and kept as such.
            found = method(list(table) if self._given.datatype == "BYTES" else table)
            return np.asarray(found.toarray() if hasattr(found, "toarray") else found)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Invalid(f"the model cannot compute these inputs: {_reason(error)}", param=self._given.name) from error

    def _outputs(self, answers: Sequence[Array], names: Sequence[str]) -> tuple[TensorSpec, ...]:
        label = TensorSpec(LABEL, "BYTES", (-1,))
        if len(answers) > 1:
            return TensorSpec(PROBABILITIES, "FP64", (-1, len(names))), label
        if self._is_classifier:
            return (label,)
        (answer,) = answers
        datatype = _DATATYPES.get(answer.dtype.kind, "BYTES")
        name = PREDICTION if hasattr(self._model, "predict") else VECTOR
        return (TensorSpec(name, datatype, (-1, *answer.shape[1:])),)


def _nothing(table: Array) -> Sequence[Array]:
    raise RuntimeError("the model is not loaded")


def _check_archive(content: bytes) -> None:
    """What a zip file says of itself, against what one may hold."""
    if not content.startswith(ZIP):
        raise Invalid("it is no skops file, which is a zip file; a pickle by another name is not read")
    try:
        with ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
    except NO_ZIP as error:
        raise Invalid(f"it is no whole zip file: {_reason(error)}") from error
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise Invalid(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes or {MAX_MEMBERS} files")
    if len({member.filename for member in members}) != len(members):
        raise Invalid("a file is in it twice")


def _check_declared(names: Sequence[str]) -> None:
    """Only classes of scikit-learn can be declared: whoever configures a model must not get to run other code by it."""
    for name in set(names) - HARMLESS:
        module, _, kind = name.rpartition(".")
        if not f"{module}.".startswith(f"{TRUSTED_PACKAGE}."):
            raise Invalid(
                f"trusted: {name[:100]!r} is no class of scikit-learn; a model with other types is one for `python`",
                param="trusted",
            )
        try:
            found = getattr(import_module(module), kind, None)
        except ImportError:
            found = None
        if not isinstance(found, type) or not f"{found.__module__}.".startswith(f"{TRUSTED_PACKAGE}."):
            raise Invalid(f"trusted: there is no class {name[:100]!r} in this scikit-learn", param="trusted")


def _read(content: bytes, trusted: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """The model, and what scikit-learn warns of; Invalid when it holds a type that is not trusted, or is damaged."""
    try:
        unknown = sorted(set(_skops.get_untrusted_types(data=content)) - set(trusted))
        if unknown:
            shown = ", ".join(unknown[:8])
            raise Invalid(f"it holds types that are not trusted: {shown[:MAX_REASON]}", param="trusted")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _skops.loads(content, trusted=list(trusted))
    except PolyforgeError:
        raise
    except Exception as error:  # what a damaged file makes of the library has no class in common
        raise Invalid(f"it cannot be read: {_reason(error)}") from error
    return model, tuple(dict.fromkeys(" ".join(str(each.message).split())[:MAX_REASON] for each in caught))[:3]


def _alone(model: Any) -> Any:
    """The model without threads and processes of its own."""
    try:
        parameters = model.get_params()
        model.set_params(**{name: 1 for name in parameters if name == "n_jobs" or name.endswith("__n_jobs")})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Invalid(f"it holds no whole estimator: {_reason(error)}") from error
    return model


def _class_names(model: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in model.classes_)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:MAX_REASON]


ADAPTER = Skops
