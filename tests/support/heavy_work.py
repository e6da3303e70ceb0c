"""Work for a process of its own, of every kind that there is."""

import os
import time
from typing import Any

from polyforge.isolation.program import Refusal, serve_work


def work(asked: dict[str, Any]) -> object:
    """What the tests ask for."""
    held: list[bytes] = []
    match asked["do"]:
        case "add":
            print("adding", asked["numbers"])
            return sum(asked["numbers"])
        case "refuse":
            raise Refusal("numbers: there are none", "numbers")
        case "sleep":
            time.sleep(60)
        case "compute":
            while True:
                pass
        case "hoard":
            while True:
                held.append(os.urandom(4 << 20))
        case "environment":
            return sorted(name for name in os.environ if "SECRET" in name)
        case _:
            os.abort()
    return None


if __name__ == "__main__":
    serve_work(work)
