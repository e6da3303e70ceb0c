"""Fails when something that Polyforge installs has a licence that nobody has looked at.

Reads the names in requirements/core.lock and the metadata of the installed distributions; needs only the standard library.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements" / "core.lock"

# SPDX ids of licences that ask no more than a notice, or, MPL-2.0, that changes to their own files stay open.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
    "Unlicense", "Zlib",
}  # fmt: skip

# What older metadata calls them: classifiers, and the free text of the `License` field.
ALSO_CALLED = {
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

# Distributions whose metadata do not say it; looked up in their sources.
LOOKED_UP = {
    "pyreqwest": "Apache-2.0",  # the LICENSE file in its wheel
}


def names(lock: str) -> list[str]:
    """The distributions that a lock pins."""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, flags=re.MULTILINE)


def licence(found: Distribution) -> str:
    """The licence expression of a distribution, in SPDX ids as far as they can be known; empty when it says nothing."""
    metadata = found.metadata
    if metadata["Name"] in LOOKED_UP:
        return LOOKED_UP[metadata["Name"]]
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [
        line.rsplit("::", 1)[1].strip()
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::") and line.count("::") > 1
    ]
    said = classifiers or [(metadata.get("License") or "").strip().split("\n")[0]]
    return " AND ".join(ALSO_CALLED.get(word.lower(), word) for word in said)


def allowed(expression: str) -> bool:
    """Whether a licence expression can be kept with allowed licences alone."""
    alternatives = [part.strip("() ") for part in re.split(r"\bOR\b", expression)]
    if "(" in expression and "AND" in expression and len(alternatives) > 1:
        return all(word in ALLOWED for word in re.findall(r"[\w.+-]+", expression) if word not in ("AND", "OR"))
    return any(all(word.strip("() ") in ALLOWED for word in part.split(" AND ")) for part in alternatives)


def main() -> int:
    wrong: list[str] = []
    count = 0
    for name in names(LOCK.read_text()):
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
