"""The environment of a child: what programs need to run on this machine, and no secrets."""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

PASSED_ON: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_*", "NVIDIA_*", "*_NUM_THREADS", "MALLOC_*",
)  # fmt: skip
"""Names and patterns; everything else stays here, since any variable may hold a key."""
DEFAULTS: Final = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    # Folders of models are not written to.
    "PYTHONDONTWRITEBYTECODE": "1",
    # Files beside a program do not stand in for the standard library's.
    "PYTHONSAFEPATH": "1",
    "MALLOC_ARENA_MAX": "2",
    # Children run beside each other; libraries that start a thread per core each would fight for them.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that a child gets."""
    passed = {
        name: value for name, value in environ.items() if any(fnmatchcase(name, pattern) for pattern in PASSED_ON)
    }
    return {**DEFAULTS, **passed}
