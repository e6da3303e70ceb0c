"""Secrets of the project, for nodes that name them."""

from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize
from polyforge.tenancy.vault.resolver import SecretResolver


class ProjectSecrets:
    """Those that the caller's project may use."""

    def __init__(self, resolver: SecretResolver) -> None:
        self._resolver = resolver

    async def get(self, caller: Caller, name: str) -> str:
        """The value; NotFound where there is none, or none for this project, Denied without the permission.

        A flow can send a secret anywhere, so whoever runs one must be allowed to use secrets.
        """
        authorize(caller, "secrets:use")
        found = await self._resolver.value(caller.organization_id, caller.project_id, name)
        return found.reveal().strip()
