"""`python -m polyforge.supervisor`: what `polyforge up` becomes once it has read its arguments."""

import contextlib
import os
import resource
import sys

from polyforge.kernel.ids import new_ulid
from polyforge.supervisor import events
from polyforge.supervisor.errors import FAILED, StartError
from polyforge.supervisor.folder import DataFolder
from polyforge.supervisor.listener import listen
from polyforge.supervisor.spec import VARIABLE, SupervisorSpec
from polyforge.supervisor.supervise import Supervisor

OPEN_FILES = 65_536


def main() -> int:
    """Run one `polyforge up` to its end, and return the exit status."""
    if VARIABLE not in os.environ:
        events.say(f"polyforge: {VARIABLE} is not set; run `polyforge up`")
        return FAILED
    try:
        return supervise(SupervisorSpec.take(os.environ))
    except StartError as error:
        events.say(f"polyforge: {error}")
        return error.status
    except OSError as error:
        events.say(f"polyforge: {error}")
        return FAILED


def supervise(spec: SupervisorSpec) -> int:
    """Take the folder and the port, run the processes, and leave nothing behind."""
    allow_open_files()
    folder = DataFolder(spec.data)
    folder.lock()
    listener = listen(spec.host, spec.port) if spec.front is not None else None
    session = folder.open_session(new_ulid())
    try:
        return Supervisor(spec, session, folder.lock_fd, listener).run()
    finally:
        session.remove()


def allow_open_files() -> None:
    """Raise the limit on open files, which is often 1024 and is what every connection of a gateway needs one of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
