"""A stand-in for a gateway or a model host: does what its supervisor may rely on, and fails in the ways tests ask for.

Told by `DUMMY_<ROLE>` in the environment: words that name a behaviour.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from polyforge.wiring.process import ProcessSpec

ROLE = sys.argv[1]
BEHAVIOUR = os.environ.get(f"DUMMY_{ROLE.upper()}", "")


def descriptors() -> list[int]:
    """The files that this process was started with."""
    here = Path("/proc/self/fd") if sys.platform == "linux" else Path("/dev/fd")
    candidates = [int(name) for name in os.listdir(here)]
    return sorted(number for number in candidates if _is_open(number))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def fail_as_told(runtime: Path) -> None:
    """Misbehave before readiness."""
    if BEHAVIOUR == "settings":
        print("server.port: must be a number", file=sys.stderr)
        sys.exit(2)
    if BEHAVIOUR == "fails":
        print("cannot find the thing", file=sys.stderr)
        sys.exit(1)
    if BEHAVIOUR == "fails-once" and not (runtime / "failed").exists():
        (runtime / "failed").touch()
        sys.exit(1)
    if BEHAVIOUR == "hangs":
        time.sleep(600)


def main() -> None:
    """Start, say so, wait for SIGTERM, end."""
    orders = {signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, orders)  # before there are threads, which inherit it
    opened = descriptors()
    spec = ProcessSpec.from_environment()
    spec.die_with_supervisor()
    runtime = Path(spec.runtime)
    print(f"{ROLE} {spec.index} starts", file=sys.stderr)
    fail_as_told(runtime)
    if BEHAVIOUR == "slow":
        for _ in range(3):
            spec.still_starting()
            time.sleep(1)
    if BEHAVIOUR == "waits":
        while not (runtime / f"{ROLE}-may-go").exists():
            time.sleep(0.01)
    facts = {
        "opened": opened,
        "environment": sorted(os.environ),
        "workers": spec.workers,
        "slot": spec.slot,
        "slots": spec.slots,
        "overrides": spec.overrides,
        "listen_fd": spec.listen_fd,
        "model_socket": spec.model_socket,
    }
    (runtime / f"{ROLE}-{spec.index}.json").write_text(json.dumps(facts))
    spec.announce_ready()
    if BEHAVIOUR == "crashes":
        sys.exit(3)
    if BEHAVIOUR == "stubborn":
        time.sleep(600)
    while signal.sigwait(orders) == signal.SIGHUP:
        print(f"{ROLE} {spec.index} reloads", file=sys.stderr)
    print(f"{ROLE} {spec.index} ends", file=sys.stderr)


if __name__ == "__main__":
    main()
