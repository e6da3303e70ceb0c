"""What OAuth 2 clients look up at fixed places (RFC 8615): the keys of tokens, and where to get tokens."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from polyforge.tenancy.people.tokens.api import EXCHANGE_PATH, REVOKE_PATH
from polyforge.tenancy.people.tokens.signing import SigningKeys
from polyforge.tenancy.policy import PERMISSIONS

KEYS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"


class WellKnown:
    """Answers the well-known paths; none of what it tells is a secret."""

    def __init__(self, keys: SigningKeys, issuer: str) -> None:
        self._keys = keys
        self._metadata = msgspec.json.encode(_metadata(issuer))
        self.answers: Mapping[str, Callable[[], Awaitable[bytes]]] = {
            KEYS_PATH: self._key_set,
            METADATA_PATH: self._describe,
        }

    async def _key_set(self) -> bytes:
        return msgspec.json.encode(await self._keys.key_set())

    async def _describe(self) -> bytes:
        return self._metadata


def _metadata(issuer: str) -> dict[str, Any]:
    """RFC 8414. There is no authorization endpoint: people sign in on our own pages only."""
    methods = ["client_secret_basic", "client_secret_post", "none"]
    return {
        "issuer": issuer,
        "token_endpoint": issuer + EXCHANGE_PATH,
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": issuer + REVOKE_PATH,
        "revocation_endpoint_auth_methods_supported": ["none"],
        "jwks_uri": issuer + KEYS_PATH,
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "response_types_supported": [],
        "scopes_supported": sorted(PERMISSIONS),
    }
