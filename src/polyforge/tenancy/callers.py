"""The caller that a request acts for."""

from typing import Literal

import msgspec

from polyforge.kernel.money import Micros

Period = Literal["total", "day", "week", "month"]
"""How long a budget lasts before it starts again, in UTC; weeks begin on Monday."""

ALL = "*"
"""The scope that grants every permission there is and will be."""
DEFAULT_SCOPES = ("inference", "models:read")


class KeyLimits(msgspec.Struct, frozen=True, gc=False):
    """What one key may use; None means without limit."""

    rpm: int | None = None
    """Requests per minute."""
    tpm: int | None = None
    """Tokens per minute, input and output together."""
    concurrency: int | None = None
    """Requests in flight at once."""
    budget: Micros | None = None
    """Price of its calls per `period`, in micro-USD."""
    period: Period = "total"

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return not (self.rpm is self.tpm is self.concurrency is self.budget is None)


CallerKind = Literal["key", "user", "service", "system"]


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from."""

    address: str = ""
    agent: str = ""
    """What the client calls itself."""
    request_id: str | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who a request acts for, in which project, and what it may do there.

    A user or a service account that calls without a key stands where the key would: its id is the `key_id`.
    """

    key_id: str
    key_name: str
    organization_id: str
    project_id: str
    scopes: frozenset[str]
    models: tuple[str, ...] | None = None
    """Names or `prefix/*` patterns of the models it may use; None means all."""
    limits: KeyLimits = KeyLimits()
    expires_at: float | None = None
    """Seconds since the epoch."""
    kind: CallerKind = "key"
    origin: Origin = Origin()
    """Set where a change may be made, for the audit log."""
    user_id: str | None = None
    """The user who calls, or who made the key; None for one that a service account, another key or nobody made."""
    group_ids: tuple[str, ...] = ()
    """The user's groups in the organization, sorted."""

    def may(self, permission: str) -> bool:
        """Whether it holds `permission`, by its scopes or its roles; whether it may act is `authorize`'s to say."""
        return permission in self.scopes or ALL in self.scopes

    def may_use(self, model: str) -> bool:
        """Whether the key may call `model`."""
        if self.models is None or model in self.models:
            return True
        return any(name.endswith("*") and model.startswith(name[:-1]) for name in self.models)
