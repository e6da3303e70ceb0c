"""The bare loop: a thread with a one-thread session for every core, over the same texts, and no server.

`python -m benchmarks.serving.bare FOLDER RUN_ROWS START SECONDS` prints what it measured as JSON; with START only,
`reference FOLDER FILE COUNT`, it writes each text's vector, computed alone, to a file.
"""

import argparse
import json
import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.serving.engine import Encoder, Vectors
from benchmarks.serving.workloads import texts

WINDOW_TEXTS = 64
"""As many wait at 64 callers: runs of several texts are cut out of so many, sorted by length."""


def runs(given: Sequence[str], rows: int, start: int) -> Iterator[list[str]]:
    """What to compute together, for ever: texts in their order, or so many of similar length out of a window."""
    size = WINDOW_TEXTS if rows > 1 else 1
    for window in count():
        places = range(start + window * size, start + (window + 1) * size)
        chosen = sorted((given[place % len(given)] for place in places), key=len)
        for first in range(0, size, rows):
            yield chosen[first : first + rows]


class Loop:
    """Threads that each take the next run until the time is over."""

    def __init__(self, folder: Path, rows: int, start: int) -> None:
        self._runs = runs(texts(), rows, start)
        self._lock = threading.Lock()
        self._encoders = [Encoder(folder, threads=1) for _ in os.sched_getaffinity(0)]
        self._seconds: list[float] = []
        self._done = 0

    def measure(self, seconds: float) -> dict[str, float]:
        """Texts, seconds, CPU seconds, and how long runs took in microseconds."""
        cpu, started = _cpu_seconds(), time.monotonic()
        threads = [threading.Thread(target=self._work, args=(one, started + seconds)) for one in self._encoders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        p50, p99 = (float(value) for value in np.percentile(self._seconds, (50, 99)))
        return {
            "texts": self._done,
            "seconds": time.monotonic() - started,
            "cpu_seconds": _cpu_seconds() - cpu,
            "p50_micros": p50 * 1e6,
            "p99_micros": p99 * 1e6,
            "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def _work(self, encode: Encoder, until: float) -> None:
        while (began := time.monotonic()) < until:
            with self._lock:
                batch = next(self._runs)
            encode(batch)
            spent = time.monotonic() - began
            with self._lock:
                self._seconds.append(spent)
                self._done += len(batch)


def reference(folder: Path, given: Sequence[str]) -> Vectors:
    """Each text's vector, computed alone."""
    encode = Encoder(folder, threads=1)
    return np.concatenate([encode([text]) for text in given])


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, or write the reference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bare", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1, help="texts in a run")
    parser.add_argument("--start", type=int, default=0, help="where in the texts to begin")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--reference", type=Path, help="write the vectors of the first texts here, and measure nothing")
    parser.add_argument("--count", type=int, default=0, help="how many of them")
    options = parser.parse_args()
    if options.reference:
        np.save(options.reference, reference(options.folder, texts()[: options.count]))
        return
    loop = Loop(options.folder, options.rows, options.start)
    loop.measure(options.seconds * 0.2)
    loop = Loop(options.folder, options.rows, options.start)
    print(json.dumps(loop.measure(options.seconds)))


if __name__ == "__main__":
    main()
