"""Who may call a model host that runs without a gateway."""

from typing import Any

import pytest

from polyforge.kernel.errors import SettingsError
from polyforge.wiring.listening import grpc_listener, token_of
from polyforge.wiring.settings import Settings


@pytest.mark.parametrize("server", [{"host": "0.0.0.0"}, {"behind_proxy": True}])
def test_other_machines_need_a_token(server: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"serving\.token: other machines"):
        token_of(Settings.model_validate({"server": server}))
    assert token_of(Settings.model_validate({"server": server, "serving": {"token": "secret-word"}})) == "secret-word"


def test_on_this_machine_none_is_needed_and_one_that_is_set_holds() -> None:
    assert token_of(Settings()) is None
    assert token_of(Settings.model_validate({"serving": {"token": "secret-word"}})) == "secret-word"


def test_without_a_port_nothing_speaks_grpc() -> None:
    assert grpc_listener(Settings(), None, shared=False) is None
