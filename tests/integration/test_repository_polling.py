"""A model host that polls its Triton repository: what is put there answers, what is taken away goes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.onnx_graphs import add_one, write
from tests.integration.test_model_host_alone import TOKEN, shown
from tests.support.python_models import write_model
from tests.support.server import MODELS_ALONE, Polyforge, stopping
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration
TOTALS = """
    class Model:
        stateful = True
        inputs = outputs = {"x": ("INT64", [1])}
        totals = {}

        def predict(self, inputs, parameters):
            name = parameters["sequence_id"]
            self.totals[name] = self.totals.get(name, 0) + inputs["x"]
            return {"x": self.totals[name]}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write(tmp_path / "repository" / "plus" / "1", add_one())
    return tmp_path / "repository"


@pytest.fixture
def host(tmp_path: Path, repository: Path) -> Iterator[Polyforge]:
    serving = {"repository": str(repository), "token": TOKEN, "repository_poll_seconds": 0.1}
    with stopping(Polyforge(tmp_path, {"serving": serving}, roles=MODELS_ALONE)) as alone:
        yield alone


def states(host: Polyforge) -> dict[str, str]:
    index = host.call("/v2/repository/index", headers=shown(), json={}).json
    return {entry["name"]: entry["state"] for entry in index if entry["name"] in ("plus", "totals")}


def test_a_repository_is_followed_and_a_sequence_answered(host: Polyforge, repository: Path) -> None:
    assert states(host) == {"plus": "READY"}
    write_model(repository / "totals" / "1", TOTALS)
    eventually(lambda: states(host).get("totals") == "READY", "the new model is taken up")
    totals: list[int] = []
    for flags in ({"sequence_start": True}, {}, {"sequence_end": True}):
        body = {
            "parameters": {"sequence_id": "a", **flags},
            "inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [5]}],
        }
        answer = host.call("/v2/models/totals/infer", headers=shown(), json=body)
        assert answer.status == 200, answer.json
        totals += answer.json["outputs"][0]["data"]
    assert totals == [5, 10, 15]
    over = host.call("/v2/models/totals/infer", headers=shown(), json=body | {"parameters": {"sequence_id": "a"}})
    assert (over.status, "must specify the START flag" in over.json["error"]) == (400, True)
    shutil.rmtree(repository / "plus")
    eventually(lambda: states(host) == {"plus": "UNAVAILABLE", "totals": "READY"}, "the removed model goes")
    assert host.call("/v2/health/ready", method="GET").status == 200
