"""Somebody who waits for an answer, at a steady pace, while others keep the machine busy."""

import statistics
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Asking:
    """Asks again and again at a steady pace, in a thread; remembers how long each answer took."""

    def __init__(self, ask: Callable[[], object], per_second: float) -> None:
        self._call = ask
        self._pause = 1.0 / per_second
        self._over = threading.Event()
        self.seconds: list[float] = []

    @contextmanager
    def going_on(self) -> Generator[None]:
        """Ask for as long as the block lasts."""
        thread = threading.Thread(target=self._ask, name="asking", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _ask(self) -> None:
        due = time.perf_counter()
        while not self._over.is_set():
            # From when it was due, so that a wait for the one before is not left out.
            self._call()
            self.seconds.append(time.perf_counter() - due)
            due += self._pause
            self._over.wait(max(0.0, due - time.perf_counter()))

    @property
    def told(self) -> dict[str, float]:
        """Milliseconds: the median, and what one of a hundred took at least."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return {"calls": len(self.seconds), "p50_ms": round(cuts[49] * 1000, 2), "p99_ms": round(cuts[98] * 1000, 2)}
