"""LightGBM's text format of a booster: checked, and written anew with nothing but what was checked.

The library trusts the file: it follows its indices, and a word that is no number ends the process. Follows
`GBDT::LoadModelFromString` and `Tree::Tree(const char*, size_t*)` of LightGBM 4 (https://github.com/microsoft/LightGBM).
A head of `key=value` lines tells the byte size of each tree's block; a block holds one tree in arrays. Inner nodes are
numbered from 0 with children behind their parents, leaves as `~leaf`.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from polyforge.kernel.errors import Invalid

START: Final = b"tree\n"
MAX_COLUMNS: Final = 1 << 20
MAX_GROUPS: Final = 1 << 16
MAX_TREES: Final = 1 << 20
MAX_LEAVES: Final = 1 << 24
MAX_DEPTH: Final = 10_000
_CATEGORICAL: Final = 1
_HEAD_END: Final = re.compile(rb"\n(?=Tree=0\n|end of trees)")
_NAME: Final = re.compile(r"[a-z_]{1,60}")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?(?:e[+-]?[0-9]{1,3})?|inf|nan)")
_OBJECTIVE: Final = re.compile(r"[a-z_0-9]{0,40}(?: [a-z_0-9]{1,40}(?::[0-9.e+-]{1,40})?){0,8}")
_CLASSES: Final = re.compile(r"\bnum_class:(\d{1,9})\b")
_UNNAMED: Final = re.compile(r"Column_\d+")
_LINEAR: Final = "leaf_const", "num_features", "leaf_features", "leaf_coeff"
_INNER_INTEGERS: Final = "split_feature", "decision_type", "left_child", "right_child"

_Fields = Mapping[str, str]


class BoosterFacts(msgspec.Struct, frozen=True):
    """How many columns a row has, how many numbers come out, what is made of them, and what the columns are called."""

    columns: int
    groups: int
    objective: str
    names: tuple[str, ...] = ()


def read_booster(content: bytes) -> tuple[BoosterFacts, str]:
    """What the file holds, and it written anew; Invalid when it is cut off, absurd, or would lead out of its arrays.

    Left out is what prediction does not need: names and ranges of columns, gains, counts, parameters of the training.
    """
    if not content.startswith(START):
        raise Invalid("it does not begin with `tree`, as a booster in LightGBM's text format does")
    end = _HEAD_END.search(content)
    if end is None:
        raise Invalid("its head has no end: there are no trees")
    text = content[len(START) : end.start()]
    head = _fields(text, "the head")
    facts = _facts(head)
    blocks = _blocks(content, end.end(), _whole_numbers(head, "tree_sizes", "the head"))
    if len(blocks) % facts.groups:
        raise Invalid(f"{len(blocks)} trees cannot be {facts.groups} for each round")
    trees = [
        _lines({"Tree": str(place), **_tree(_fields(block, f"tree {place}"), f"tree {place}", facts.columns)})
        for place, block in enumerate(blocks)
    ]
    averaged = b"average_output" in text.split(b"\n")
    return facts, _written(facts, head.get("objective", ""), trees, averaged=averaged)


def _written(facts: BoosterFacts, objective: str, trees: Sequence[str], *, averaged: bool) -> str:
    head = {
        "version": "v4",
        "num_class": str(facts.groups),
        "num_tree_per_iteration": str(facts.groups),
        "label_index": "0",
        "max_feature_idx": str(facts.columns - 1),
        **({"objective": objective} if objective else {}),
        "feature_names": " ".join(f"Column_{column}" for column in range(facts.columns)),
        "feature_infos": " ".join(["none"] * facts.columns),
        "tree_sizes": " ".join(str(len(tree)) for tree in trees),
    }
    flag = "average_output\n" if averaged else ""
    return f"tree\n{flag}{_lines(head)}\n{''.join(trees)}end of trees\n"


def _lines(fields: _Fields) -> str:
    return "".join(f"{name}={value}\n" for name, value in fields.items()) + "\n"


def _facts(head: _Fields) -> BoosterFacts:
    columns = _one(head, "max_feature_idx", "the head", most=MAX_COLUMNS - 1) + 1
    groups = _one(head, "num_tree_per_iteration", "the head", least=1, most=MAX_GROUPS)
    classes = _one(head, "num_class", "the head", least=1, most=MAX_GROUPS)
    objective = head.get("objective", "")
    if not _OBJECTIVE.fullmatch(objective):
        raise Invalid(f"the head: the objective {objective[:80]!r} is none that the library writes")
    said = _CLASSES.search(objective)
    if groups != classes or (said is not None and int(said[1]) != groups):
        raise Invalid(
            f"the head: the objective {objective[:80]!r} does not fit num_class={classes} with {groups} trees"
        )
    if objective.startswith("multiclass") and said is None:
        raise Invalid("the head: the objective does not say how many classes there are")
    names = tuple(head.get("feature_names", "").split(" "))
    said_names = len(names) == columns and not all(map(_UNNAMED.fullmatch, names))
    return BoosterFacts(columns, groups, objective.partition(" ")[0], names if said_names else ())


def _blocks(content: bytes, start: int, sizes: Sequence[int]) -> list[bytes]:
    if len(sizes) > MAX_TREES:
        raise Invalid(f"it has {len(sizes)} trees; more than {MAX_TREES} are refused")
    blocks: list[bytes] = []
    for place, size in enumerate(sizes):
        begin = b"Tree=%d\n" % place
        block = content[start : start + size] if size > 0 else b""
        if len(block) != size or not block.startswith(begin):
            raise Invalid(f"tree {place}: it is cut off, or not where tree_sizes says")
        blocks.append(block[len(begin) :])
        start += size
    if not content.startswith(b"end of trees", start):
        raise Invalid("the trees do not end where tree_sizes says")
    return blocks


def _tree(tree: _Fields, where: str, columns: int) -> _Fields:
    """The fields of one tree that are needed."""
    leaves = _one(tree, "num_leaves", where, least=1, most=MAX_LEAVES)
    categorical = _one(tree, "num_cat", where, most=MAX_LEAVES)
    linear = _one(tree, "is_linear", where, most=1) if "is_linear" in tree else 0
    names = ["leaf_value"]
    _count(tree, "leaf_value", where, leaves)
    if leaves > 1:
        _check_inner(tree, where, leaves - 1, columns, categorical)
        names += ["threshold", *_INNER_INTEGERS, *(("cat_boundaries", "cat_threshold") if categorical else ())]
    if linear:
        _check_linear(tree, where, leaves, columns)
        names += _LINEAR
    counts = {"num_leaves": str(leaves), "num_cat": str(categorical), "is_linear": str(linear), "shrinkage": "1"}
    return {**counts, **{name: tree[name] for name in names}}


def _check_inner(tree: _Fields, where: str, inner: int, columns: int, categorical: int) -> None:
    for name in (*_INNER_INTEGERS, "threshold"):
        _count(tree, name, where, inner)
    arrays = {name: _whole_numbers(tree, name, where) for name in _INNER_INTEGERS}
    if not all(0 <= feature < columns for feature in arrays["split_feature"]):
        raise Invalid(f"{where}: split_feature names a column that is not there")
    if not all(0 <= decision < 1 << 7 for decision in arrays["decision_type"]):
        raise Invalid(f"{where}: decision_type holds what is none")
    _check_children(arrays["left_child"], arrays["right_child"], where)
    decisions = zip(arrays["decision_type"], _numbers(tree, "threshold", where), strict=True)
    picked = [threshold for decision, threshold in decisions if decision & _CATEGORICAL]
    _check_categories(tree, where, categorical, picked)


def _check_children(left: Sequence[int], right: Sequence[int], where: str) -> None:
    """Children lie behind their parents, so that no walk goes round; nor too deep, as some walks recurse."""
    inner = len(left)
    depths = [0] * inner
    for node, children in enumerate(zip(left, right, strict=True)):
        for child in children:
            if not (node < child < inner or -inner - 1 <= child < 0):
                raise Invalid(f"{where}: a child is a node that is not there, or one before its parent")
            if child > 0:
                depths[child] = depths[node] + 1
    if max(depths) > MAX_DEPTH:
        raise Invalid(f"{where}: it is deeper than {MAX_DEPTH}")


def _check_categories(tree: _Fields, where: str, count: int, picked: Sequence[float]) -> None:
    if not all(threshold.is_integer() and 0 <= threshold < count for threshold in picked):
        raise Invalid(f"{where}: a threshold names a set of categories that is not there")
    if not count:
        return
    boundaries = _whole_numbers(tree, "cat_boundaries", where)
    size = len(_whole_numbers(tree, "cat_threshold", where))
    if len(boundaries) != count + 1 or boundaries[0] != 0 or boundaries[-1] != size:
        raise Invalid(f"{where}: cat_boundaries do not fit num_cat and cat_threshold")
    if not all(left <= right for left, right in pairwise(boundaries)):
        raise Invalid(f"{where}: cat_boundaries go back")
    if not all(0 <= bits < 1 << 32 for bits in _whole_numbers(tree, "cat_threshold", where)):
        raise Invalid(f"{where}: cat_threshold holds what is no word of 32 bits")


def _check_linear(tree: _Fields, where: str, leaves: int, columns: int) -> None:
    """Leaves with a linear model each: a constant, and so many columns with a coefficient each."""
    _count(tree, "leaf_const", where, leaves)
    counts = _whole_numbers(tree, "num_features", where)
    features = _whole_numbers(tree, "leaf_features", where)
    _count(tree, "leaf_coeff", where, len(features))
    if len(counts) != leaves or min(counts) < 0 or sum(counts) != len(features):
        raise Invalid(f"{where}: num_features does not fit leaf_features")
    if not all(0 <= feature < columns for feature in features):
        raise Invalid(f"{where}: leaf_features names a column that is not there")


# Lines and what stands in them


def _fields(text: bytes, where: str) -> _Fields:
    fields: dict[str, str] = {}
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise Invalid(f"{where}: it is not UTF-8") from error
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals:
            continue
        if not _NAME.fullmatch(name) or name in fields:
            raise Invalid(f"{where}: {name[:40]!r} is no name of a field, or is there twice")
        fields[name] = value
    return fields


def _one(fields: _Fields, name: str, where: str, *, least: int = 0, most: int) -> int:
    values = _whole_numbers(fields, name, where)
    if len(values) != 1 or not least <= values[0] <= most:
        raise Invalid(f"{where}: {name} must be one whole number from {least} to {most}")
    return values[0]


def _count(fields: _Fields, name: str, where: str, wanted: int) -> None:
    found = len(_numbers(fields, name, where))
    if found != wanted:
        raise Invalid(f"{where}: {name} has {found} numbers, not {wanted}")


def _whole_numbers(fields: _Fields, name: str, where: str) -> list[int]:
    return [int(word) for word in _words(fields, name, where, _WHOLE)]


def _numbers(fields: _Fields, name: str, where: str) -> list[float]:
    return [float(word) for word in _words(fields, name, where, _NUMBER)]


def _words(fields: _Fields, name: str, where: str, form: re.Pattern[str]) -> list[str]:
    """Numbers in no other form than the library writes, which would read another one as it likes."""
    words = [word for word in fields.get(name, "").split(" ") if word]
    wrong = next((word for word in words if not form.fullmatch(word)), None)
    if wrong is not None:
        raise Invalid(f"{where}: {name} holds {wrong[:40]!r}, which is no number that belongs there")
    return words
