"""Other processes of this machine."""

import os


def is_running(pid: int) -> bool:
    """Whether there is such a process; one of somebody else's counts."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
