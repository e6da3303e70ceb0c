"""XGBoost's model files, JSON and Universal Binary JSON, checked before the library reads them: sizes, indices, order.

Follows `RegTree::LoadModel` and `GBTreeModel::LoadModel` of XGBoost 3, and its JSON schema
(https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html). The library compares the lengths of arrays and
follows the indices in them unchecked. Nodes are numbered from 0, the root; -1 stands for no child.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar, cast

import msgspec

from polyforge.dialects import ubjson
from polyforge.kernel.errors import Invalid

MAX_COLUMNS: Final = 1 << 20
MAX_GROUPS: Final = 1 << 16
MAX_CATEGORY: Final = 1 << 24
"""The library keeps a category in a float, which counts exactly so far."""
_NO_PARENT: Final = frozenset({-1, 2**31 - 1})
_CATEGORICAL: Final = 1
_T = TypeVar("_T")


class BoosterFacts(msgspec.Struct, frozen=True):
    """How many columns a row has, how many numbers come out, what is made of them, and by what kind of booster."""

    columns: int
    groups: int
    objective: str
    booster: str
    names: tuple[str, ...] = ()


class _TreeParam(msgspec.Struct):
    num_nodes: str
    size_leaf_vector: str = "0"


class _Tree(msgspec.Struct):
    base_weights: list[float]
    default_left: list[int]
    left_children: list[int]
    right_children: list[int]
    parents: list[int]
    split_conditions: list[float]
    split_indices: list[int]
    loss_changes: list[float]
    sum_hessian: list[float]
    tree_param: _TreeParam
    split_type: list[int] = []
    categories: list[int] = []
    categories_nodes: list[int] = []
    categories_segments: list[int] = []
    categories_sizes: list[int] = []


class _TreesParam(msgspec.Struct):
    num_trees: str
    num_parallel_tree: str = "1"


class _Trees(msgspec.Struct):
    gbtree_model_param: _TreesParam
    trees: list[_Tree]
    tree_info: list[int]
    iteration_indptr: list[int] | None = None
    cats: Mapping[str, list[Any]] = {}


class _TreeBooster(msgspec.Struct):
    model: _Trees


class _DartBooster(msgspec.Struct):
    gbtree: _TreeBooster
    weight_drop: list[float]


class _Weights(msgspec.Struct):
    weights: list[float]


class _LinearBooster(msgspec.Struct):
    model: _Weights


class _LearnerParam(msgspec.Struct):
    num_feature: str
    base_score: str
    num_class: str = "0"
    num_target: str = "1"


class _Learner(msgspec.Struct):
    gradient_booster: dict[str, Any]
    learner_model_param: _LearnerParam
    objective: dict[str, Any]
    feature_names: list[str] = []
    feature_types: list[str] = []


class _File(msgspec.Struct):
    learner: _Learner


def is_binary(content: bytes) -> bool:
    """Whether a file that begins so is Universal Binary JSON: an object whose first name has a length."""
    return content[:2] in (b"{L", b"{i", b"{U", b"{l", b"{I")


def looks_right(content: bytes) -> bool:
    """Whether a file may be a model, as far as its beginning tells."""
    return is_binary(content) or b'"learner"' in content


def check_booster(content: bytes) -> BoosterFacts:
    """What the file holds; Invalid when it is cut off, absurd, or would lead the library out of its arrays."""
    learner = _convert(_decode(content), _File).learner
    param = learner.learner_model_param
    columns = _whole(param.num_feature, "num_feature", least=1, most=MAX_COLUMNS)
    classes = _whole(param.num_class, "num_class", most=MAX_GROUPS)
    groups = max(1, classes, _whole(param.num_target, "num_target", most=MAX_GROUPS))
    for name, found in (("feature_names", learner.feature_names), ("feature_types", learner.feature_types)):
        if len(found) not in (0, columns):
            raise Invalid(f"{name} has {len(found)} entries for {columns} columns")
    if param.base_score.count(",") + 1 not in (1, groups):
        raise Invalid(f"base_score does not hold one number, or one for each of {groups}")
    booster = str(learner.gradient_booster.get("name"))
    _check_objective(learner.objective, classes)
    _check_gradient_booster(booster, learner.gradient_booster, columns, groups)
    return BoosterFacts(columns, groups, str(learner.objective.get("name")), booster, tuple(learner.feature_names))


def _decode(content: bytes) -> Any:
    if is_binary(content):
        return ubjson.decode(content)
    try:
        return json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"it is no JSON: {error}") from error


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a name that is there twice, two readers might take different values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in an object")
    return found


def _convert(value: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"it is no model of XGBoost: {error}") from error


def _check_objective(objective: Mapping[str, Any], classes: int) -> None:
    for name, param in objective.items():
        said = cast(dict[str, Any], param).get("num_class") if isinstance(param, dict) else None
        if said is not None and said != str(classes):
            raise Invalid(f"the objective's {name} has {said!s:.20} classes, the learner {classes}")


def _check_gradient_booster(name: str, booster: Mapping[str, Any], columns: int, groups: int) -> None:
    match name:
        case "gbtree":
            _check_trees(_convert(booster, _TreeBooster).model, columns, groups)
        case "dart":
            dart = _convert(booster, _DartBooster)
            _check_trees(dart.gbtree.model, columns, groups)
            _check_length("weight_drop", dart.weight_drop, len(dart.gbtree.model.trees))
        case "gblinear":
            _check_length("weights", _convert(booster, _LinearBooster).model.weights, (columns + 1) * groups)
        case other:
            raise Invalid(f"a booster of kind {other[:40]!r} is not supported")


def _check_trees(model: _Trees, columns: int, groups: int) -> None:
    count = _whole(model.gbtree_model_param.num_trees, "num_trees", most=1 << 24)
    _whole(model.gbtree_model_param.num_parallel_tree, "num_parallel_tree", least=1, most=1 << 24)
    _check_length("trees", model.trees, count)
    _check_length("tree_info", model.tree_info, count)
    if not all(0 <= group < groups for group in model.tree_info):
        raise Invalid("tree_info names a group that is not there")
    rounds = model.iteration_indptr
    if rounds is not None and (rounds[:1] != [0] or rounds[-1] != count or any(a > b for a, b in pairwise(rounds))):
        raise Invalid("iteration_indptr does not go from 0 to the number of trees")
    if any(model.cats.values()):
        raise Invalid("it holds the categories of a data frame, which cannot travel; train it on their codes")
    for place, tree in enumerate(model.trees):
        _check_tree(tree, f"tree {place}", columns)


def _check_tree(tree: _Tree, where: str, columns: int) -> None:
    count = _whole(tree.tree_param.num_nodes, f"{where}: num_nodes", least=1, most=1 << 31)
    if _whole(tree.tree_param.size_leaf_vector, f"{where}: size_leaf_vector", most=1 << 31) > 1:
        raise Invalid(f"{where}: leaves that hold several numbers are not supported")
    for name in (
        *("base_weights", "default_left", "left_children", "right_children", "parents"),
        *("split_conditions", "split_indices", "loss_changes", "sum_hessian"),
    ):
        _check_length(f"{where}: {name}", getattr(tree, name), count)
    if tree.parents[0] not in _NO_PARENT:
        raise Invalid(f"{where}: its root has a parent")
    for node, children in enumerate(zip(tree.left_children, tree.right_children, strict=True)):
        if children == (-1, -1):
            continue
        # A node with one parent each, and a root without: no walk from the root goes round.
        if children[0] == children[1] or any(not 0 < c < count or tree.parents[c] != node for c in children):
            raise Invalid(f"{where}: node {node} has a child that is not there, or that has another parent")
        if not 0 <= tree.split_indices[node] < columns:
            raise Invalid(f"{where}: node {node} looks at a column that is not there")
    if not all(-1 <= parent < count or parent in _NO_PARENT for parent in tree.parents):
        raise Invalid(f"{where}: a parent is not there")
    _check_categories(tree, where, count)


def _check_categories(tree: _Tree, where: str, count: int) -> None:
    if tree.split_type:
        _check_length(f"{where}: split_type", tree.split_type, count)
    nodes = tree.categories_nodes
    inner = {node for node, kind in enumerate(tree.split_type) if kind == _CATEGORICAL and tree.left_children[node] > 0}
    if not inner <= set(nodes) or any(a >= b for a, b in pairwise((-1, *nodes, count))):
        raise Invalid(f"{where}: categories_nodes does not fit split_type")
    _check_length(f"{where}: categories_segments", tree.categories_segments, len(nodes))
    _check_length(f"{where}: categories_sizes", tree.categories_sizes, len(nodes))
    ends = zip(tree.categories_segments, tree.categories_sizes, strict=True)
    if not all(start >= 0 and size > 0 and start + size <= len(tree.categories) for start, size in ends):
        raise Invalid(f"{where}: categories_segments leave categories")
    if not all(0 <= category < MAX_CATEGORY for category in tree.categories):
        raise Invalid(f"{where}: a category is not between 0 and {MAX_CATEGORY}")


def _check_length(name: str, found: Sequence[object], wanted: int) -> None:
    if len(found) != wanted:
        raise Invalid(f"{name} has {len(found)} entries, not {wanted}")


def _whole(text: str, name: str, *, least: int = 0, most: int) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= 10  # noqa: PLR2004  enough for what is allowed
    if not digits or not least <= int(text) <= most:
        raise Invalid(f"{name} must be a whole number from {least} to {most}, not {text[:20]!r}")
    return int(text)
