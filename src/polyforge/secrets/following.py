"""Secrets that are asked for anew whenever they are needed, so that a change of them needs nothing more."""

from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef


class FollowedSecrets:
    """What one adapter's settings refer to; those that the database keeps are watched from `open` to `close`."""

    def __init__(self, *references: SecretRef | None) -> None:
        self._names = [each.name for each in references if each is not None and each.name is not None]
        self._source: SecretSource | None = None
        self._stops: list[Stop] = []

    def open(self, source: SecretSource) -> None:
        """Have them at hand: only what is watched can be asked for."""
        self._source = source
        self._stops = [source.watch(name, _nothing) for name in self._names]

    def close(self) -> None:
        """Watch them no more. A second call does nothing."""
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()

    def reveal(self, reference: SecretRef) -> str:
        """The secret as it is now; errors as for `SecretRef.reveal`."""
        return reference.reveal(self._source)


def _nothing() -> None:
    """It is read again with the next call anyway."""
