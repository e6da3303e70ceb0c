"""A repository that is polled: changes are taken up without a failed request, once they are whole."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyforge.serving.triton.polling import RepositoryPoller
from tests.support.waiting import PAUSE, eventually_async
from tests.unit.serving.triton.engines import write_model
from tests.unit.serving.triton.hosts import ENSEMBLE, IO, TritonHost
from tests.unit.serving.triton.test_control import answer


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[TritonHost]:
    host = TritonHost(tmp_path)
    host.scheduler.open()
    write_model(host.folder, "m", IO)
    yield host
    await host.scheduler.close()


@pytest.fixture
async def poller(host: TritonHost) -> RepositoryPoller:
    poller = RepositoryPoller(host.folder, host.control, PAUSE)
    await poller.begin()
    await host.control.load_all()
    return poller


async def looks(poller: RepositoryPoller, count: int = 2) -> None:
    for _ in range(count):
        await poller.look()


def loads(host: TritonHost, name: str, version: int = 1) -> int:
    return len(host.engines.get((name, version), []))


async def test_what_does_not_change_is_left_alone(host: TritonHost, poller: RepositoryPoller) -> None:
    (host.folder / "m" / "1" / "__pycache__").mkdir()
    (host.folder / "m" / "1" / "__pycache__" / "helper.pyc").write_bytes(b"made by reading")
    await looks(poller, 4)
    assert loads(host, "m") == 1
    await host.control.unload("m")
    await looks(poller, 4)
    assert host.states() == [("m", "1", "UNAVAILABLE")]


async def test_a_new_version_is_taken_up_without_a_failed_request(host: TritonHost, poller: RepositoryPoller) -> None:
    stop = asyncio.Event()

    async def call() -> int:
        count = 0
        while not stop.is_set():
            assert await answer(host, "m") == (1, 2, 3, 4)
            count += 1
        return count

    callers = [asyncio.ensure_future(call()) for _ in range(4)]
    write_model(host.folder, "m", versions=(2,))
    await looks(poller)
    stop.set()
    assert min(await asyncio.gather(*callers)) > 0
    assert host.states() == [("m", "2", "READY")]
    assert [engine.closed for engine in host.engines["m", 1]] == [True]


async def test_a_changed_configuration_is_taken_up(host: TritonHost, poller: RepositoryPoller) -> None:
    (host.folder / "m" / "config.pbtxt").write_text(IO.replace("max_batch_size: 4", "max_batch_size: 3"))
    await looks(poller)
    assert host.repository.find("m").signature.max_rows == 3


async def test_a_model_that_is_being_copied_waits_until_it_is_whole(host: TritonHost, poller: RepositoryPoller) -> None:
    folder = write_model(host.folder, "new", IO)
    for size in range(1, 5):
        (folder / "1" / "model.onnx").write_bytes(b"g" * size)
        await poller.look()
        assert loads(host, "new") == 0
    await poller.look()
    assert await answer(host, "new") == (1, 2, 3, 4)
    assert loads(host, "new") == 1


async def test_half_a_version_does_not_harm_the_one_before(host: TritonHost, poller: RepositoryPoller) -> None:
    folder = write_model(host.folder, "m", versions=(2,))
    (folder / "2" / "model.onnx").write_bytes(b"broken")
    await looks(poller, 5)
    assert await answer(host, "m", version="1") == (1, 2, 3, 4)
    (folder / "2" / "model.onnx").write_bytes(b"graph and the rest of it")
    await looks(poller)
    assert host.states() == [("m", "2", "READY")]


async def test_a_removed_model_goes_and_may_come_back(host: TritonHost, poller: RepositoryPoller) -> None:
    shutil.move(host.folder / "m", host.folder.parent / "m")
    await poller.look()
    assert host.states() == [("m", "1", "READY")]
    await poller.look()
    assert host.states() == [("m", "1", "UNAVAILABLE")]
    shutil.move(host.folder.parent / "m", host.folder / "m")
    await looks(poller)
    assert host.states() == [("m", "1", "READY")]


async def test_what_cannot_be_loaded_is_not_tried_at_every_look(host: TritonHost, poller: RepositoryPoller) -> None:
    (write_model(host.folder, "bad", "colour: 1") / "1" / "model.onnx").write_bytes(b"broken")
    await looks(poller, 3)
    assert ("bad", "", "UNAVAILABLE") in host.states()
    (host.folder / "bad" / "config.pbtxt").write_text(IO)
    (host.folder / "bad" / "1" / "model.onnx").write_bytes(b"graph")
    await looks(poller)
    assert ("bad", "1", "READY") in host.states()


async def test_an_ensemble_follows_what_it_is_made_of(host: TritonHost, poller: RepositoryPoller) -> None:
    write_model(host.folder, "both", ENSEMBLE, versions=())
    await looks(poller)
    assert ("both", "", "UNAVAILABLE") in host.states()
    for name in ("first", "second"):
        write_model(host.folder, name, IO)
    await looks(poller)
    assert await answer(host, "both", "a") == (2, 3, 4, 5)
    before = host.repository.find("both")
    write_model(host.folder, "second", versions=(2,))
    await looks(poller)
    assert host.repository.find("both") is not before
    assert await answer(host, "both", "a") == (2, 3, 4, 5)


async def test_an_ensemble_that_failed_at_the_start_is_tried_again(host: TritonHost) -> None:
    write_model(host.folder, "both", ENSEMBLE, versions=())
    write_model(host.folder, "first", IO)
    poller = RepositoryPoller(host.folder, host.control, PAUSE)
    await poller.begin()
    await host.control.load_all()
    assert ("both", "", "UNAVAILABLE") in host.states()
    write_model(host.folder, "second", IO)
    await looks(poller)
    assert await answer(host, "both", "a") == (2, 3, 4, 5)


async def test_a_model_that_came_with_a_request_stays(host: TritonHost, poller: RepositoryPoller) -> None:
    await host.control.load("sent", {"config": json.dumps({"backend": "onnxruntime"}), "file:1/model.onnx": b"graph"})
    await looks(poller, 3)
    assert ("sent", "1", "READY") in host.states()


async def test_a_repository_that_cannot_be_read_changes_nothing(host: TritonHost, poller: RepositoryPoller) -> None:
    host.folder.rename(host.folder.parent / "elsewhere")
    await looks(poller, 3)
    assert await answer(host, "m") == (1, 2, 3, 4)


async def test_following_looks_again_and_again(host: TritonHost, poller: RepositoryPoller) -> None:
    following = asyncio.ensure_future(poller.follow())
    write_model(host.folder, "m", versions=(2,))
    await eventually_async(lambda: host.states() == [("m", "2", "READY")], "the new version answers")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
