"""What counting gives: a number, and between which it lies when it is not exact."""

import msgspec


class Count(msgspec.Struct, frozen=True, gc=False):
    """Tokens of a text or a prompt. The true number is never below `low` nor above `high`."""

    tokens: int
    low: int
    high: int
    tokenizer: str
    """What counted: the name of an encoding, `file`, or `estimate`."""

    @property
    def exact(self) -> bool:
        """Whether it is the true number."""
        return self.low == self.high


class Range(msgspec.Struct, frozen=True, gc=False):
    """A likely number of tokens with its bounds."""

    likely: int
    low: int
    high: int

    def __add__(self, other: "Range") -> "Range":
        return Range(self.likely + other.likely, self.low + other.low, self.high + other.high)

    def counted_by(self, tokenizer: str) -> Count:
        """The same, with the name of what counted."""
        return Count(self.likely, self.low, self.high, tokenizer)


def exactly(tokens: int) -> Range:
    """A number that is known."""
    return Range(tokens, tokens, tokens)
