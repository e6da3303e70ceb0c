"""The repository: a model that cannot be loaded says why, and the others answer."""

import pytest

from polyforge.kernel.errors import Invalid, ModelNotFound, Unavailable
from polyforge.serving.repository import HostedModel, Repository
from tests.unit.serving.backends import Adder


class Panic(BaseException):
    """What a native library raises."""


def test_a_model_answers_once_it_is_loaded() -> None:
    model = HostedModel("m", Adder())
    with pytest.raises(Unavailable) as refusal:
        _ = model.signature
    assert refusal.value.retry_after
    model.load()
    assert model.ready
    assert model.signature.platform == "adder"


def test_a_broken_model_stays_listed_with_its_reason_and_harms_no_other() -> None:
    broken, good = (
        HostedModel("broken", Adder(load_error=Invalid("config.json: is no JSON"))),
        HostedModel("good", Adder()),
    )
    repository = Repository([broken, good])
    assert not repository.settled
    for model in repository:
        model.load()
    assert repository.settled
    assert [(model.name, model.state) for model in repository] == [("broken", "UNAVAILABLE"), ("good", "READY")]
    with pytest.raises(Unavailable, match=r"config\.json: is no JSON"):
        _ = repository.find("broken").signature


def test_an_unforeseen_end_of_loading_is_for_the_log_and_not_for_callers() -> None:
    model = HostedModel("m", Adder(load_error=Panic("at 0x7f")))
    with pytest.raises(RuntimeError) as broken:
        model.load()
    assert isinstance(broken.value.__cause__, Panic)
    assert model.state == "UNAVAILABLE"
    assert "0x7f" not in model.reason


@pytest.mark.parametrize(("name", "version"), [("nope", None), ("m", "2"), ("m", ""), ("M", None)])
def test_an_unknown_model_is_not_found(name: str, version: str | None) -> None:
    with pytest.raises(ModelNotFound, match="Request for unknown model"):
        Repository([HostedModel("m", Adder())]).find(name, version)


def test_closing_lets_go_of_what_was_loaded() -> None:
    loaded, failed = Adder(), Adder(load_error=Invalid("no"))
    repository = Repository([HostedModel("a", loaded), HostedModel("b", failed)])
    for model in repository:
        model.load()
    repository.close()
    assert (loaded.closed, failed.closed) == (True, False)
    with pytest.raises(Unavailable):
        _ = repository.find("a").signature
