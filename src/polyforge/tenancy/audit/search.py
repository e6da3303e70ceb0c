"""What the audit log can be searched for, pure."""

from collections.abc import Mapping

import msgspec

from polyforge.kernel.errors import Invalid

_ANY = ".*"


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted: those that agree with everything that is given."""

    action: str | None = None
    topic: str | None = None
    """What the action has before its dot."""
    actor_id: str | None = None
    resource_kind: str | None = None
    resource_id: str | None = None
    since: float | None = None
    """Seconds since the epoch."""
    until: float | None = None
    """Seconds since the epoch, not included."""

    @property
    def named(self) -> Mapping[str, str]:
        """The columns that must have a certain value. Each has an index of its own."""
        wanted = {
            "resource_id": self.resource_id,
            "actor_id": self.actor_id,
            "action": self.action,
            "topic": self.topic,
            "resource_kind": self.resource_kind,
        }
        return {name: value for name, value in wanted.items() if value is not None}


def parse_action(pattern: str | None) -> tuple[str | None, str | None]:
    """The action and the topic that `key.revoked` or `key.*` asks for, of which one is None; Invalid for another."""
    if pattern is None:
        return None, None
    topic = pattern.removesuffix(_ANY)
    if "*" in topic or (topic != pattern and "." in topic):
        raise Invalid("is an action as in `key.revoked`, or `key.*` for all that begin with it", param="action")
    return (pattern, None) if topic == pattern else (None, topic)
