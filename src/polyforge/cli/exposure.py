"""Whether the gateway may listen where it is told to: never in the clear to other machines."""

from polyforge.cli.client import is_loopback
from polyforge.kernel.errors import SettingsError
from polyforge.wiring.settings import ServerSettings


def refuse_exposure(server: ServerSettings) -> None:
    """SettingsError when keys and prompts would cross a network unencrypted, or the certificate is not there."""
    if server.tls:
        for name, path in (("cert", server.tls.cert), ("key", server.tls.key)):
            if not path.is_file():
                raise SettingsError(f"server.tls.{name}: there is no file {path}")
        return
    if is_loopback(server.host) or server.behind_proxy:
        return
    raise SettingsError(
        f"server.host: {server.host} can be reached from other machines, and without TLS anybody on the way reads the "
        "keys. Set server.tls.cert and server.tls.key, or pass --behind-proxy if a proxy in front ends TLS, "
        "or listen on 127.0.0.1"
    )
