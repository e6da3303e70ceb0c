"""The check of a model before it becomes a version: what hangs, crashes or eats memory does so in a process apart."""

import asyncio
import shutil
from pathlib import Path

import psutil
import pytest

from polyforge.kernel.errors import Invalid
from polyforge.registry.artifacts.folder import Artifact, ArtifactFolder
from polyforge.registry.artifacts.settings import ArtifactSettings
from polyforge.wiring.checking import CheckedModels
from tests.support.python_models import write_model
from tests.support.small_encoders import encoder
from tests.support.waiting import eventually_async

HANGS = """
    import time

    class Model:
        inputs = {"x": ("FP32", [-1])}
        outputs = {"y": ("FP32", [-1])}

        def load(self):
            time.sleep(1000)

        def predict(self, inputs):
            return {"y": inputs["x"]}
"""
CRASHES = HANGS.replace("import time", "import os").replace("time.sleep(1000)", "os.abort()")
HUNGRY = HANGS.replace("time.sleep(1000)", "self.held = bytearray(1 << 29); time.sleep(1000)")


def artifact(tmp_path: Path, source: Path) -> Artifact:
    folder = ArtifactFolder(tmp_path / "artifacts")
    folder.prepare()
    place = tmp_path / "place"
    shutil.copytree(source, place)
    paths = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    return folder.commit(place, paths)


def children() -> set[psutil.Process]:
    return {each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture
def others() -> set[psutil.Process]:
    """The processes of other tests' servers."""
    return children()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(HANGS, "time"), (CRASHES, "SIGABRT"), (HUNGRY, "memory")],
    ids=["hangs", "crashes", "hungry"],
)
async def test_what_a_model_does_while_it_is_checked_is_told(
    tmp_path: Path, others: set[psutil.Process], code: str, reason: str
) -> None:
    found = artifact(tmp_path, write_model(tmp_path / "m", code))
    check = CheckedModels(ArtifactSettings(check_seconds=5, check_memory_bytes=300 * 1024**2))
    with pytest.raises(Invalid, match="cannot be run") as refused:
        await check(found, {}, trusted=True)
    assert reason in refused.value.message
    assert children() <= others


async def test_a_check_that_nobody_waits_for_ends_with_its_process(tmp_path: Path, others: set[psutil.Process]) -> None:
    found = artifact(tmp_path, write_model(tmp_path / "m", HANGS))
    checking = asyncio.create_task(CheckedModels(ArtifactSettings())(found, {}, trusted=True))
    await eventually_async(lambda: children() - others, "the model's process runs")
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    await eventually_async(lambda: children() <= others, "its process is gone")


async def test_what_runs_code_is_for_operators_and_other_engines_too(tmp_path: Path) -> None:
    program = artifact(tmp_path / "p", write_model(tmp_path / "m", HANGS))
    check = CheckedModels(ArtifactSettings())
    with pytest.raises(Invalid, match="only who may change its settings"):
        await check(program, {}, trusted=False)
    good = artifact(tmp_path / "g", encoder(tmp_path / "e", 4))
    with pytest.raises(Invalid, match="none of those that read only"):
        await check(good, {"backend": "remote_oip"}, trusted=False)
    with pytest.raises(Invalid, match="memory_bytes bounds processes"):
        await check(good, {"options": {"memory_bytes": 2**50}}, trusted=False)
    with pytest.raises(Invalid, match="more than"):
        await check(good, {"isolated": True, "instances": 256}, trusted=False)
    found = await check(good, {"options": {"normalize": True}}, trusted=False)
    assert found.card["task"] == "embedding"
    with pytest.raises(Invalid, match="settings"):
        await check(good, {"options": {"unknown": True}}, trusted=False)
