"""Fails when something that Polyforge installs has a licence that nobody has looked at.

Reads the names in requirements/core.lock, those of the extras with what they need, and the metadata of the installed
distributions.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "core.lock"

# Metadata that names no licence; the file that comes with the distribution does.
READ_BY_HAND = {"skops": "MIT"}

# SPDX ids of licences that ask no more than a notice; or, MPL-2.0, that changes to their own files stay open; or, the
# LGPL, that whoever runs us can put another version of the library in its place, which pip is for.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "LGPL-3.0-only", "MIT", "MIT-0", "MPL-2.0",
    "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip

# What older metadata calls them: classifiers, and the free text of the `License` field.
ALSO_CALLED = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}


def names(lock: str) -> list[str]:
    """The distributions that a lock pins."""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, flags=re.MULTILINE)


def extras(project: str) -> list[str]:
    """The distributions of the optional dependencies, with all that those need on this platform."""
    optional: dict[str, list[str]] = tomllib.loads(project)["project"]["optional-dependencies"]
    waiting = [line for lines in optional.values() for line in lines]
    found: dict[str, None] = {}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in found or not wanted(requirement):
            continue
        found[name] = None
        waiting += needs(name)
    return sorted(found)


def wanted(requirement: Requirement) -> bool:
    """Whether a requirement is one of this platform, and of no extra of its own."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def needs(name: str) -> Iterable[str]:
    """What a distribution requires; nothing when it is not installed."""
    try:
        return distribution(name).requires or ()
    except PackageNotFoundError:
        return ()


def licence(found: Distribution) -> str:
    """The licence expression of a distribution, in SPDX ids as far as they can be known; empty when it says nothing."""
    fields = found.metadata.json
    if by_hand := READ_BY_HAND.get(canonicalize_name(str(fields["name"]))):
        return by_hand
    if expression := fields.get("license_expression"):
        return str(expression)
    classifiers = [line for line in fields.get("classifier", []) if line.startswith("License :: OSI Approved ::")]
    said = [line.rpartition(" :: ")[2] for line in classifiers] or [str(fields.get("license", "")).split("\n")[0]]
    return " AND ".join(ALSO_CALLED.get(words.lower(), words) for words in said)


def allowed(expression: str) -> bool:
    """Whether a licence expression can be kept with allowed licences alone; in a nested one all must be."""
    alternatives = [expression] if "(" in expression else expression.split(" OR ")
    return any(bool(words := ids(part)) and words <= ALLOWED for part in alternatives)


def ids(expression: str) -> set[str]:
    """The licences that an expression names."""
    return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR"}


def main() -> int:
    wrong: list[str] = []
    count = 0
    optional = extras((ROOT / "pyproject.toml").read_text())
    for name in dict.fromkeys((*map(canonicalize_name, names(LOCK.read_text())), *optional)):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # not for this platform
        count += 1
        expression = licence(found)
        if not allowed(expression):
            wrong.append(f"{name} {found.version}: {expression or 'says nothing'}")
    for line in wrong:
        print(f"licence not allowed: {line}")
    print(f"licences: {count} distributions, {len(wrong)} not allowed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
