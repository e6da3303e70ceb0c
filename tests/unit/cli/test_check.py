"""`polyforge check`, as far as it needs no process."""

import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from polyforge.cli.caveats import caveats_of, of_binding
from polyforge.cli.check import examine
from polyforge.cli.effective import effective
from polyforge.database.walls import Binding
from polyforge.kernel.errors import SettingsError
from polyforge.serving.sources import BUILT_IN_FOLDER
from polyforge.wiring.settings import Settings


def examined(api_key: str) -> str:
    provider = {"use": "openai", "api_key": api_key}
    return examine(Settings.model_validate({"providers": {"lab": provider}}))["providers"]["lab"]["api_key"]


def test_a_secret_of_the_database_is_checked_by_its_name_alone() -> None:
    assert examined("secret:not-set-yet") == "secret:not-set-yet"
    with pytest.raises(SettingsError, match=r"providers\.lab\.api_key: `secret:` needs a name"):
        examined("secret:Not A Name")
    with pytest.raises(SettingsError, match=r"providers\.lab\.api_key: the environment variable"):
        examined("env:NOT_SET_ANYWHERE")


def test_secrets_of_the_notifier_and_of_identity_providers_are_tried_too() -> None:
    mail = {"use": "smtp", "host": "mail", "sender": "a@b.org", "username": "a", "password": "env:NOT_SET_ANYWHERE"}
    with pytest.raises(SettingsError, match=r"people\.notifier\.password: the environment variable"):
        examine(Settings.model_validate({"people": {"notifier": mail}}))
    corp = {"issuer": "https://corp.example", "client_id": "c", "client_secret": "env:NOT_SET_ANYWHERE"}
    with pytest.raises(SettingsError, match=r"people\.identity_providers\.corp\.client_secret: the environment"):
        examine(Settings.model_validate({"people": {"identity_providers": {"corp": corp}}}))
    kept = {
        "notifier": {**mail, "password": "secret:mail"},
        "identity_providers": {"corp": {**corp, "client_secret": "secret:corp"}},
    }
    shown = examine(Settings.model_validate({"people": kept}))["people"]
    assert shown["notifier"]["password"] == "secret:mail"
    assert shown["identity_providers"]["corp"]["client_secret"] == "secret:corp"


# --- what works and is still not how it should be ---


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"behind_proxy": True}, True),
        ({"host": "0.0.0.0", "behind_proxy": True}, True),
    ],
)
def test_links_need_an_address_once_others_can_reach_the_gateway(server: dict[str, Any], warned: bool) -> None:
    caveats = caveats_of(Settings.model_validate({"server": server}))
    assert [line.partition(":")[0] for line in caveats] == ["people.public_url"] * warned
    named = {"server": server, "people": {"public_url": "https://forge.example"}}
    assert caveats_of(Settings.model_validate(named)) == []


@pytest.mark.parametrize(
    "rest",
    ["h:x/db", "[bad/db", "127.0.0.1:1/db?sslmode=bogus", "127.0.0.1:1/db?unreadable", "127.0.0.1:99999/db"],
)
def test_an_address_that_cannot_be_read_is_told_without_its_password(rest: str) -> None:
    """A password with a slash that is not encoded makes the rest of it look like a port."""
    for password in ("marzipan", "marz/ipan"):
        database = {"url": f"postgresql://ann:{password}@{rest}"}
        with pytest.raises(SettingsError, match=r"database\.url: this address cannot be read") as told:
            caveats_of(Settings.model_validate({"database": database}))
        words = "".join(traceback.format_exception(told.value))
        assert re.search("marz|ipan", words) is None


@pytest.mark.parametrize(
    ("binding", "told"),
    [
        (Binding("root", superuser=True, bypasses=True, open_tables=("roles",)), "'root' is a superuser"),
        (Binding("ann", superuser=False, bypasses=True, open_tables=()), "'ann' has BYPASSRLS"),
        (Binding("ann", superuser=False, bypasses=False, open_tables=("a", "b")), "'ann' in a, b; run ALTER TABLE"),
    ],
)
def test_a_role_that_sees_every_tenant_is_told(binding: Binding, told: str) -> None:
    assert told in (of_binding(binding) or "")


def test_a_role_that_is_bound_is_nothing_to_speak_of() -> None:
    assert of_binding(Binding("ann", superuser=False, bypasses=False, open_tables=())) is None


def test_sources_of_models_are_checked_and_their_secrets_are_not_shown() -> None:
    hub = {"use": "hugging_face", "token": "hf_written_out"}
    shown = examine(Settings.model_validate({"model_sources": {"hf": hub}}))
    assert shown["model_sources"]["hf"]["token"] == "********"
    assert shown["model_sources"]["hf"]["endpoint"] == "https://huggingface.co"
    with pytest.raises(SettingsError, match=r"model_sources\.hf\.token: the environment variable"):
        examine(Settings.model_validate({"model_sources": {"hf": {**hub, "token": "env:NOT_SET_ANYWHERE"}}}))
    tree = {"model_sources": {"s3": {"use": "object_storage", "secret_access_key": "written-out"}}}
    assert [each.value for each in effective(tree, {}) if each.path.endswith("key")] == ["********"]


@pytest.mark.parametrize("place", ["objects", "batches.stores.lake"])
def test_places_of_objects_and_tables_are_checked_and_their_secrets_are_not_shown(place: str) -> None:
    written = {"use": "s3", "bucket": "lake", "prefix": "here", "access_key_id": "a", "secret_access_key": "sesame"}
    own = {} if place == "objects" else {"projects": ["*"]}

    def settings(**more: Any) -> Settings:
        tree: Any = {**written, **own, **more}
        for name in reversed(place.split(".")):
            tree = {name: tree}
        return Settings.model_validate(tree)

    shown = {each.path: each.value for each in effective(examine(settings()), {})}
    assert (shown[f"{place}.bucket"], shown[f"{place}.secret_access_key"]) == ("lake", "********")
    assert shown[f"{place}.timeout_seconds"] == 30.0
    with pytest.raises(SettingsError, match=rf"{place}\.secret_access_key: the environment variable"):
        examine(settings(secret_access_key="env:NOT_SET_ANYWHERE"))
    with pytest.raises(SettingsError, match=rf"{place}\.nonsense"):
        examine(settings(nonsense=1))


def test_local_models_that_would_not_be_served_are_told(tmp_path: Path) -> None:
    source = {"task": "embedding", "source": f"file://{tmp_path}"}
    good = {"task": "embedding", "source": f"file://{BUILT_IN_FOLDER}"}
    models = {"empty": source, "misspelt": {**good, "backend": "static_embeding"}, "good": good}
    told = caveats_of(Settings.model_validate({"models": models}))
    assert [line.partition(": ")[0] for line in told] == ["models.empty", "models.misspelt"]
    assert "there is no 'static_embeding'" in told[1]
