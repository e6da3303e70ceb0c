"""Who may know what: the rules that import-linter's layers cannot say."""

import ast
import subprocess
import sys
from fnmatch import fnmatch

import pytest

from tests.architecture.sources import imported, importers, sources

BELOW_DATABASE = {
    "adapters", "upstreams", "telemetry", "tokens", "privacy", "scoring", "egress", "isolation", "secrets", "ports",
    "dialects", "kernel", "__version__",
}  # fmt: skip
# sandbox_program.py: it takes the environment away from the code that it runs.
READ_ENVIRONMENT = (
    "cli/*", "supervisor/*", "wiring/*", "secrets/references.py", "isolation/environment.py",
    "isolation/sandbox_program.py",
)  # fmt: skip
# skops.py: the classes of scikit-learn that a model's configuration names, and no other package. built_in.py: a type of
# node is one file, and adding it touches no other. sandbox_program.py: what code may import is loaded before it.
IMPORT_BY_NAME = (
    "wiring/adapters.py", "cli/adapters.py", "cli/lazy.py", "database/*", "adapters/model_backends/skops.py",
    "flows/built_in.py", "isolation/sandbox_program.py",
)  # fmt: skip


def outside(paths: set[str], *allowed: str) -> set[str]:
    """The paths that match none of the patterns."""
    return {path for path in paths if not any(fnmatch(path, pattern) for pattern in allowed)}


def test_adapters_import_only_what_lies_below_the_database() -> None:
    wrong = {
        (source.path, name)
        for source in sources()
        if source.room == "adapters"
        for name in imported(source.tree)
        if name.startswith("polyforge.") and name.split(".")[1] not in BELOW_DATABASE
    }
    assert not wrong


def test_only_the_server_and_routes_know_the_web_framework() -> None:
    assert not outside(
        importers("fastapi", "starlette"),
        "server/*",
        "*/api.py",
        "*_api.py",
        "tenancy/permission.py",
        "tenancy/frames.py",
    )


def test_http_is_spoken_in_two_places() -> None:
    """Upstreams are called by egress; a command makes one request and must start fast: it has the standard library."""
    assert not outside(importers("urllib.request", "http.client"), "cli/client.py")
    assert not outside(importers("httptools"), "egress/http.py", "wiring/http_connection.py")


def test_settings_come_from_one_place() -> None:
    """The environment is read by wiring, the two ways in, for secrets that lie in it, and for what a child may know."""
    readers = {source.path for source in sources() if reads_environment(source.tree)}
    assert not outside(readers, *READ_ENVIRONMENT)


def reads_environment(tree: ast.Module) -> bool:
    """Whether a module looks at environment variables; setting a default for a library is not looking."""
    written = {
        id(node.value.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "setdefault"
    }
    return any(name in ("os.environ", "os.getenv") for name in imported(tree)) or any(
        ast.unparse(node) in ("os.environ", "os.getenv") and id(node) not in written
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    )


def test_modules_are_loaded_by_name_only_for_adapters_commands_and_nodes() -> None:
    loaders = {
        source.path
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
    }
    assert not outside(loaders, *IMPORT_BY_NAME)


def test_no_import_hides_in_a_function() -> None:
    """A cycle that only a lazy import keeps from showing is a cycle."""
    hidden = {
        (source.path, name)
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in imported(node)
        if name.startswith("polyforge")
    }
    assert not hidden


def test_the_supervisor_runs_on_the_standard_library_alone() -> None:
    program = (
        "import polyforge.supervisor.__main__, sys;"
        "own = {'polyforge', '__main__', '__mp_main__', *sys.stdlib_module_names};"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - own))"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, env={"PYTHONPATH": "src"}, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("", "")


@pytest.mark.parametrize("module", ["polyforge.cli.main", "polyforge.cli.up", "polyforge.wiring.models"])
def test_what_must_start_fast_and_small_loads_no_heavy_library(module: str) -> None:
    """Once a constant out of the database's room cost each start of the model host and of the command line 0.4 s."""
    heavy = ("sqlalchemy", "fastapi", "cryptography", "jwt", "argon2", "alembic")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["polyforge.server.process", "polyforge.wiring.worker"])
def test_what_never_sees_a_terminal_loads_nothing_that_paints_one(module: str) -> None:
    """The command line of the library for CEL took 9 MB of each process."""
    painting = ("typer", "rich", "prompt_toolkit", "pygments")
    code = f"import sys, {module}; print([name for name in {painting!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
