"""`python -m benchmarks.privacy`: what detection costs, for each kind and for the texts that cost most.

Single-threaded CPU, the best of many runs: machines that are shared only ever add to it. A fixed loop is timed beside,
so that figures of two moments can be compared.
"""

import argparse
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from polyforge.privacy.detector import Detector
from polyforge.privacy.kinds import KINDS
from polyforge.privacy.masks import Mask
from polyforge.privacy.streams import StreamFilter

LENGTH: Final = 2000
LOOP: Final = 1_000_000
PROSE: Final = (
    "The committee met on Tuesday to discuss the new schedule for the library, and most of the members agreed that "
    "opening hours should be longer in winter. Mrs. Keller said that 12 volunteers had signed up, which is more than "
    "in 2019, and that the budget of $4,500 would cover their travel. Nobody had expected the heating to fail again: "
    "it was repaired last spring, and the invoice, number 20231107, was paid in full. Version 2.4.1 of the catalogue "
    "software is slower than the old one, but it finally understands umlauts; see https://example.org/notes. "
)
HINDI: Final = "समिति ने मंगलवार को बैठक की और कहा कि पुस्तकालय का समय बढ़ना चाहिए, क्योंकि १२ लोग आए थे। "
WORST: Final[Mapping[str, str]] = {
    "all digits": "7",
    "all @": "@",
    "addresses of nobody": "a@b.",
    "hexadecimal": "0a1b2c3d4e5f",
    "colons": "aa:bb:cc:",
    "mixed signs": "Aa1@:/ .-+",
    "digits and spaces": "1 2 3 4 5 6 7 8 9 0 ",
    "groups of four": "4111 1234 5678 9012 ",
    "cards": "4111 1111 1111 1111, ",
    "telephone numbers": "+14155552671 ",
    "Indian telephone numbers": "98765 43210 ",
    "dates of birth": "born 12.03.1985 ",
    "streets": "12 Baker Street ",
    "versions or addresses": "1.2.3.4 ",
    "passwords": "password: sk-",
    "e-mail addresses": "a.b@c.de ",
    "emoji": "on Tuesday \U0001f600 ",
    "invisible signs": "a\u200b",
    "escapes of JSON": r"\u0031\n",
    "words for secrets": "password=",
}


def repeated(text: str) -> str:
    """A text of the length that is measured."""
    return (text * LENGTH)[:LENGTH]


def best(work: Callable[[], object], rounds: int, inner: int = 4) -> float:
    """Seconds that one run takes at best."""
    shortest = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(inner):
            work()
        shortest = min(shortest, (time.perf_counter() - started) / inner)
    return shortest


def spin() -> float:
    """Seconds of ten million turns of an empty loop, from a tenth of them."""

    def turn() -> None:
        for _ in range(LOOP):
            pass

    return 10 * best(turn, 5, 1)


def stream(detector: Detector, words: list[str]) -> None:
    """Filter a text that comes word by word."""
    stream = StreamFilter(detector, Mask())
    for word in words:
        stream.feed(word)
    stream.finish()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="runs of which the best counts")
    rounds: int = parser.parse_args().rounds
    everything, prose = Detector(), repeated(PROSE)
    print(f"loop of 10 million turns: {spin():.2f} s")
    print(f"\n{LENGTH} characters, all {len(everything.kinds)} kinds, ms")
    for name, text in {"prose": PROSE, "Hindi prose": HINDI, **WORST}.items():
        print(f"  {name:26}{1e3 * best(partial(everything.detect, repeated(text)), rounds):8.2f}")
    words = re.findall(r"\s*\S+", prose)
    seconds = best(partial(stream, everything, words), rounds, 1)
    print(f"\nprose word by word, us for a word: {1e6 * seconds / len(words):.0f}")
    print(f"\n{LENGTH} characters of prose, one kind, us")
    for kind in KINDS:
        print(f"  {kind:26}{1e6 * best(partial(Detector([kind]).detect, prose), rounds):8.0f}")
    print(f"\nloop of 10 million turns: {spin():.2f} s")


if __name__ == "__main__":
    main()
