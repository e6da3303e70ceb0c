import os
import stat
import time
from pathlib import Path

import pytest

from polyforge.cli.data import make_folder
from polyforge.cli.errors import CommandError
from polyforge.cli.exposure import refuse_exposure
from polyforge.cli.options import overrides_of
from polyforge.cli.up import Role, process_start, roles_of
from polyforge.kernel.errors import SettingsError
from polyforge.wiring.settings import ServerSettings, TlsSettings


def server(**fields: object) -> ServerSettings:
    return ServerSettings.model_validate(fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_tls(host: str) -> None:
    refuse_exposure(server(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.example.org"])
def test_other_machines_are_refused_with_three_ways_out(host: str) -> None:
    with pytest.raises(SettingsError) as refused:
        refuse_exposure(server(host=host))
    assert refused.value.message.startswith(f"server.host: {host}")
    assert all(way in refused.value.message for way in ("server.tls.cert", "--behind-proxy", "127.0.0.1"))


def test_a_proxy_in_front_or_a_certificate_lets_others_in(tmp_path: Path) -> None:
    refuse_exposure(server(host="0.0.0.0", behind_proxy=True))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.touch()
    key.touch()
    refuse_exposure(server(host="0.0.0.0", tls=TlsSettings(cert=cert, key=key)))


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^server\.tls\.cert: there is no file"):
        refuse_exposure(server(tls=TlsSettings(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")))


def test_all_is_what_there_is() -> None:
    assert roles_of([Role.ALL]) == ["gateway", "models", "worker"]
    assert roles_of([Role.WORKER, Role.ALL]) == ["gateway", "models", "worker"]
    assert roles_of([Role.MODELS, Role.GATEWAY]) == ["gateway", "models"]
    assert roles_of([Role.MODELS]) == ["models"]
    assert roles_of([Role.WORKER]) == ["worker"]


def test_only_what_was_given_overrides() -> None:
    assert overrides_of(None, port=None, host=None) == {}
    assert overrides_of(Path("/data"), port=0, host=None) == {"data": "/data", "server": {"port": 0}}


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot make the data folder"):
        make_folder(tmp_path / "file" / "inside")


def test_the_start_of_this_process_lies_in_the_past() -> None:
    assert process_start() < time.monotonic()
