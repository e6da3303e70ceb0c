"""Decision trees of scikit-learn, checked after they were read: it follows the indices in them unchecked."""

from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np

from polyforge.adapters.model_backends.engine.arrays import Array
from polyforge.kernel.errors import Invalid

MAX_OBJECTS: Final = 1 << 20
_PLAIN = (str, bytes, int, float, bool, complex, np.generic, type(None))


def check_trees(model: object) -> None:
    """Invalid when a tree anywhere in the model leads to a node or a column that is not there, or round in a circle."""
    for found in _objects(model):
        columns = getattr(found, "n_features_in_", None)
        if not isinstance(columns, int):
            continue
        for tree in (found, *_flat(getattr(found, "estimators_", ()))):
            if (grown := getattr(tree, "tree_", None)) is not None:
                _check(grown.children_left, grown.children_right, grown.feature, grown.children_left < 0, columns)
        for boosted in _flat(getattr(found, "_predictors", ())):
            _check_boosted(boosted, columns)


def _check_boosted(predictor: Any, columns: int) -> None:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    _check(nodes["left"], nodes["right"], nodes["feature_idx"], ~inner, columns)
    picked = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    if picked.size and int(picked.max()) >= len(predictor.raw_left_cat_bitsets):
        raise Invalid("a tree names a set of categories that is not there")


def _check(left: Array, right: Array, features: Array, leaves: Array, columns: int) -> None:
    """Nodes lie behind their parents, as scikit-learn numbers them."""
    inner = np.flatnonzero(~leaves)
    for children in (left.astype(np.int64)[inner], right.astype(np.int64)[inner]):
        if not np.all((children > inner) & (children < len(left))):
            raise Invalid("a tree has a child that is not there, or that lies before its parent")
    if not np.all((features[inner] >= 0) & (features[inner] < columns)):
        raise Invalid("a tree looks at a column that is not there")


def _flat(nested: Any) -> Iterator[Any]:
    """The elements of lists, tuples and arrays of objects, of whatever depth."""
    if isinstance(nested, np.ndarray):
        nested = cast(list[Any], nested.tolist())
    for each in cast(list[Any], nested):
        if isinstance(each, list | tuple | np.ndarray):
            yield from _flat(each)
        else:
            yield each


def _objects(model: object) -> Iterator[object]:
    """The model and all that hangs on it, each once; Invalid when there is no end to it."""
    waiting: list[object] = [model]
    seen: dict[int, object] = {}
    while waiting:
        found = waiting.pop()
        if isinstance(found, _PLAIN) or id(found) in seen:
            continue
        if len(seen) >= MAX_OBJECTS:
            raise Invalid(f"it is made of more than {MAX_OBJECTS} objects")
        # Kept, so that no other object gets its place in memory, and so its id.
        seen[id(found)] = found
        yield found
        waiting += _parts(found)


def _parts(found: Any) -> list[object]:
    if isinstance(found, np.ndarray):
        array = cast(Array, found)
        return cast(list[object], array.reshape(-1).tolist()) if array.dtype == object else []
    if isinstance(found, list | tuple | set | frozenset):
        return list(cast(list[object], found))
    if isinstance(found, dict):
        return list(cast(dict[object, object], found).values())
    if isinstance(found, type) or not hasattr(found, "__dict__"):
        return []
    return list(cast(dict[str, object], vars(found)).values())
