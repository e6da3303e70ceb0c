"""What one call used, in one canonical form whatever the provider calls it."""

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one call. The whole input is `input + cache_read + cache_write`; `reasoning` is a part of `output`.

    `exact` is false where the provider reported nothing and the numbers are our own estimate.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    exact: bool = True

    @property
    def input_total(self) -> int:
        """Every token of the prompt, cached or not."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """Every token of the call."""
        return self.input_total + self.output


NO_USAGE = Usage()
