"""Where a Redis is, as a setting or a secret says it: one reading for everything that we keep there."""

from typing import Final

from redis.asyncio.connection import parse_url

from polyforge.kernel.errors import SettingsError
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.references import SecretRef

_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def redis_address(url: SecretRef, secrets: SecretSource | None) -> str:
    """The address in plain text; SettingsError, which does not quote it, when no Redis can be there."""
    address = url.reveal(secrets)
    if not address.startswith(_SCHEMES):
        raise SettingsError(f"url: {url} must begin with {', '.join(_SCHEMES)}")
    try:
        parse_url(address)
    except ValueError:
        # Without the cause, which quotes the address.
        raise SettingsError(f"url: {url} has a port or an option that cannot be") from None
    return address
