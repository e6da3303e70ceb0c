"""What operators and orchestrators ask: alive, ready, metrics."""

from collections.abc import Callable

import msgspec


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether this process takes requests, and what of the machine is not up. Not tied to the database."""

    ready: bool
    draining: bool = False


class Operations:
    """Answers /livez, /readyz and /metrics."""

    def __init__(self, render_metrics: Callable[[], bytes], local_only: bool) -> None:
        self._render_metrics = render_metrics
        self._draining = False
        self.metrics_need_a_scope = not local_only

    def drain(self) -> None:
        """Say no to new traffic from now on, so that balancers look elsewhere."""
        self._draining = True

    def ready(self) -> tuple[int, bytes]:
        """Status and body of /readyz."""
        state = Readiness(ready=not self._draining, draining=self._draining)
        return (503 if self._draining else 200), msgspec.json.encode(state)

    def metrics(self) -> bytes:
        """Every series in Prometheus's text format 0.0.4."""
        return self._render_metrics()
