"""The access log: one JSON line per request, for about a microsecond where the request is served."""

from polyforge.telemetry.lines import Line, timestamp
from polyforge.telemetry.masking import mask_keys

_LONGEST = 200


class AccessLine(Line, tag_field="event", tag="request", omit_defaults=True, gc=False):
    """What one request did; fields that are empty are left out of the line."""

    request_id: str
    method: str
    path: str
    """Without its query."""
    status: int
    duration_ms: float
    overhead_ms: float
    """What the gateway itself took: the duration without the wait for upstreams."""
    key_id: str | None = None
    project_id: str | None = None
    model: str | None = None
    provider: str | None = None
    deployment: str | None = None
    """The provider's own name of the model."""
    attempts: int = 0
    stream: bool = False
    hops_us: list[int] | None = None
    """Microseconds per hop, in the order of `polyforge.telemetry.hops.HOPS`."""
    first_token_ms: float | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    price_micros: int = 0
    """Price in micro-USD."""
    error: str | None = None
    """Code of the error that the caller got."""
    trace_id: str | None = None
    process: str = ""

    def settle(self, process: str) -> None:
        """Name the process and the time; bound and mask what the caller made up."""
        self.process = process
        time, path, model = self.time, self.path, self.model
        if not isinstance(time, str):
            self.time = timestamp(time)
        if len(path) > _LONGEST or "-" in path:
            self.path = _tame(path)
        if model is not None and (len(model) > _LONGEST or "-" in model):
            self.model = _tame(model)


def _tame(text: str) -> str:
    return mask_keys(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")


def milliseconds(nanoseconds: int) -> float:
    """Milliseconds with three decimals."""
    return (nanoseconds // 1000) / 1000
