"""Models that come from no Triton repository are shown in its words all the same."""

import pytest

from polyforge.kernel.errors import Unavailable
from polyforge.serving.repository import HostedModel
from polyforge.serving.triton.showing import configuration_of
from tests.unit.serving.backends import Adder, hosted


def test_a_model_with_rows_has_a_batch_dimension() -> None:
    config = configuration_of(hosted(Adder(batch_rows=8), "a"))
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("a", "adder", 8)
    assert (config["input"][0]["dims"], config["input"][0]["reshape"]) == ([1], {"shape": []})
    assert config["dynamic_batching"]["priority_levels"] == 0


def test_a_model_without_rows_has_none() -> None:
    config = configuration_of(hosted(Adder(batch_rows=0), "a"))
    assert config["max_batch_size"] == 0
    assert config["input"][0]["dims"] == [-1]
    assert "dynamic_batching" not in config


def test_a_model_that_is_not_ready_has_nothing_to_show() -> None:
    with pytest.raises(Unavailable):
        configuration_of(HostedModel("a", Adder()))
