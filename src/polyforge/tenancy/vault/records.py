"""A secret as it is kept, and how it is sealed and opened."""

import msgspec

from polyforge.kernel.errors import Unavailable
from polyforge.kernel.hidden import Hidden
from polyforge.secrets.sealing import MasterKeys, Unsealable

BELONGS_TO = "secret/{organization_id}/{id}"
"""What a sealed value is bound to, so that it does not open in another row."""


class StoredSecret(msgspec.Struct, frozen=True):
    """One row. `master` tells which master key sealed it."""

    id: str
    organization_id: str
    name: str
    sealed: bytes
    master: str
    projects: tuple[str, ...] | None
    """Ids of the projects that may use it; None: every one of the organization."""
    version: int
    """1 when it was made, one more with every change."""
    created_at: float
    changed_at: float

    def serves(self, project_id: str) -> bool:
        """Whether the project may use it."""
        return self.projects is None or project_id in self.projects

    @property
    def state(self) -> tuple[str, int, str]:
        """Differs between any two values that a name has had, and between their seals under different keys."""
        return self.id, self.version, self.master


def seal(master: MasterKeys, organization_id: str, secret_id: str, value: str) -> dict[str, object]:
    """The columns that hold a value."""
    belongs_to = BELONGS_TO.format(organization_id=organization_id, id=secret_id)
    return {"sealed": master.seal(value.encode(), belongs_to), "master": master.current}


def unseal(master: MasterKeys, secret: StoredSecret) -> Hidden:
    """The value; Unavailable when its master key is not at hand, or the row was tampered with."""
    belongs_to = BELONGS_TO.format(organization_id=secret.organization_id, id=secret.id)
    try:
        return Hidden(master.open(secret.sealed, belongs_to).decode())
    except Unsealable as error:
        raise Unavailable(f"the secret {secret.name!r} cannot be opened: {error}") from error
