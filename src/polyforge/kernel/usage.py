"""What one call used, in one canonical form whatever the provider calls it."""

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one call used. The whole input is `input + cache_read + cache_write` tokens, the whole output is `output`.

    `audio_input` and `image_input` are parts of `input`; `reasoning` and `audio_output` are parts of `output`.
    `exact` is false where the provider reported nothing and the numbers are our own estimate.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    exact: bool = True
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    images: int = 0
    """Images made."""
    milliseconds: int = 0
    """Of audio heard or spoken."""
    characters: int = 0
    """Of text spoken or translated."""

    def __add__(self, other: "Usage") -> "Usage":
        """What both used together; exact where both are."""
        mine, others = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        sums = {name: count + others[name] for name, count in mine.items() if name != "exact"}
        return Usage(**sums, exact=self.exact and other.exact)

    @property
    def input_total(self) -> int:
        """Every token of the prompt, cached or not."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """Every token of the call."""
        return self.input_total + self.output


NO_USAGE = Usage()
_MOST_TOKENS = 1_000_000_000
"""More than any call can use, and few enough that whatever is reckoned from them fits everywhere."""


def told(usage: Usage) -> Usage | None:
    """Usage as a provider counts it, its thoughts being part of its output; None where the numbers are nonsense."""
    counts = (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
    if min(counts) < 0 or max(counts) > _MOST_TOKENS:
        return None
    return usage if usage.reasoning <= usage.output else msgspec.structs.replace(usage, reasoning=usage.output)
