"""What pyproject.toml declares, what the locks pin, and what the code imports must be one thing."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import files, packages_distributions
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.sources import ROOT, imported, importers, sources

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    name: (ROOT / "requirements" / f"{name}.lock").read_text()
    for name in ("installer", "console", "core", "dev", "litellm")
}
NEEDED = ("dependencies", "devDependencies", "optionalDependencies")
"""What a package of npm's names as needed, on some platform at least."""
DRIVERS = {"aiosqlite", "asyncpg"}
"""SQLAlchemy loads them by the name in the database's URL."""


def declared(*groups: str) -> list[Requirement]:
    """The requirements of the package, or of dependency groups."""
    lines = [line for group in groups for line in PROJECT["dependency-groups"][group]] or PROJECT["project"][
        "dependencies"
    ]
    return [Requirement(line) for line in lines]


def extras() -> dict[str, list[Requirement]]:
    """The libraries that are installed only by who wants them, by extra."""
    found: dict[str, list[str]] = PROJECT["project"].get("optional-dependencies", {})
    return {name: [Requirement(line) for line in lines] for name, lines in found.items()}


def pins(lock: str) -> dict[str, Version]:
    """The versions that a lock pins, by canonical name."""
    found = re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, flags=re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


@cache
def distributions() -> Mapping[str, list[str]]:
    """The distributions of each installed package. Reading what all of them hold takes seconds."""
    return packages_distributions()


@cache
def packages_of(distribution: str) -> frozenset[str]:
    """What it is imported as: packages of its own, and parts of those that several share, as in `google.protobuf`."""
    owners = distributions()
    parts = [file.parts for file in files(distribution) or () if file.suffix in (".py", ".so")]
    roots = {path[0].partition(".")[0] for path in parts}
    own = {root for root in roots if len(owners.get(root, ())) == 1}
    shared = {".".join(path[:2]) for path in parts if len(path) > 2 and len(owners.get(path[0], ())) > 1}
    return frozenset(own | shared)


def owners_of(name: str) -> set[str]:
    """The distributions that an imported name may belong to; the name itself where nobody knows it."""
    root = name.partition(".")[0]
    owners = distributions().get(root, [root])
    if len(owners) > 1:
        owners = [owner for owner in owners if any(f"{name}.".startswith(f"{own}.") for own in packages_of(owner))]
    return {canonicalize_name(owner) for owner in owners}


def test_what_is_imported_is_what_is_declared() -> None:
    names = {name for source in sources() for name in imported(source.tree)}
    ours_or_pythons = {*sys.stdlib_module_names, "polyforge", "__future__"}
    foreign = {name for name in names if name.partition(".")[0] not in ours_or_pythons}
    imports = {owner for name in foreign for owner in owners_of(name)}
    ours = {canonicalize_name(requirement.name) for requirement in declared()}
    imports -= {canonicalize_name(requirement.name) for extra in extras().values() for requirement in extra}
    # pydantic's core and FastAPI's base come with them and are part of their interface.
    assert imports - ours <= {"pydantic-core", "starlette"}
    assert ours - imports <= DRIVERS


def test_what_is_extra_is_imported_by_adapters_alone_and_tested() -> None:
    pinned = pins(LOCKS["dev"])
    for requirement in (requirement for extra in extras().values() for requirement in extra):
        name = canonicalize_name(requirement.name)
        assert pinned[name] in requirement.specifier
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue  # for another platform
        users = importers(*packages_of(name))
        assert users
        assert all(path.startswith("adapters/") for path in users)


def test_what_tests_and_tools_import_is_in_a_lock() -> None:
    owners = distributions()
    pinned = pins(LOCKS["dev"]) | pins(LOCKS["litellm"])
    files = [file for folder in ("tests", "tools", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(file.read_text()) for file in files if not {".peers", "peers"} & set(file.parts)]
    roots = {name.partition(".")[0] for tree in trees for name in imported(tree)}
    ours = {"polyforge", "tests", "benchmarks", *(file.stem for file in (ROOT / "tools").glob("*.py"))}
    foreign = roots - set(sys.stdlib_module_names) - ours
    missing = [root for root in foreign if not pinned.keys() & {canonicalize_name(o) for o in owners.get(root, [root])}]
    assert not missing


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        ("core", ()),
        ("core", ("build",)),
        ("dev", ("dev",)),
        ("console", ("console",)),
        ("installer", ("installer",)),
        ("litellm", ("litellm",)),
    ],
)
def test_locks_pin_what_is_declared(lock: str, groups: tuple[str, ...]) -> None:
    pinned = pins(LOCKS[lock])
    for requirement in declared(*groups):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}.lock; run `make lock`"
        assert version in requirement.specifier, f"{lock}.lock has {requirement.name} {version}; run `make lock`"


def test_the_locks_agree() -> None:
    core, dev = pins(LOCKS["core"]), pins(LOCKS["dev"])
    console = pins(LOCKS["console"])
    assert {name: dev.get(name) for name in core} == core
    assert {name: dev.get(name) for name in console} == console


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_hashes_and_no_addresses(lock: str) -> None:
    text = LOCKS[lock]
    assert "://" not in text
    assert not [version for version in pins(text).values() if version.local]
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert not [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]


def test_the_consoles_lock_holds_every_package_for_every_platform() -> None:
    """npm leaves out, without a word, what its registry did not have at that moment; `npm ci` then fails elsewhere."""
    lock: dict[str, dict[str, Any]] = json.loads((ROOT / "console" / "package-lock.json").read_text())["packages"]
    there = {path.rpartition("node_modules/")[2] for path in lock}
    wanted = {name for facts in lock.values() for kind in NEEDED for name in facts.get(kind, {})}
    assert wanted <= there, "pin a version that all platforms have, then run `npm install` in console/"
