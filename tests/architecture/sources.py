"""The modules of the package as syntax trees, for rules that are about what code says and not about what it does."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "polyforge"


class Source(NamedTuple):
    """One module. `path` is relative to the package, as in `server/app.py`."""

    path: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder below the package that it lies in, or its own name."""
        return self.path.partition("/")[0].removesuffix(".py")


@cache
def sources() -> tuple[Source, ...]:
    """Every module of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return tuple(Source(file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text(), str(file))) for file in files)


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names that are imported below a node, what is taken from a module included: `os.environ`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*names: str) -> set[str]:
    """The modules that import one of `names`, or something below it."""
    return {
        source.path
        for source in sources()
        if any(f"{found}.".startswith(f"{name}.") for found in imported(source.tree) for name in names)
    }
