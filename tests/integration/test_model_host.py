"""The model host as a process of its own, reached the way a gateway reaches it."""

import asyncio
import base64
import json
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyforge.adapters.providers.local import LocalProvider
from polyforge.adapters.providers.local import Settings as LocalSettings
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, TimedOut, Unavailable
from polyforge.kernel.tasks import EmbeddingResult, InferenceRequest
from polyforge.ports.provider import Call, Reply, Timeouts
from polyforge.serving.sources import BUILT_IN, BUILT_IN_FOLDER
from tests.support.model_host import Host
from tests.support.vault import Secrets
from tests.support.waiting import DEADLINE

EXPECTED = Path(__file__).parents[1] / "conformance" / "expected" / "static_minilm.json"
DIMENSIONS = 256
LONG_TEXT = "a rather long text with many words in it " * 100
TEXTS = 100
"""More than what may share a run."""


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Unix sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def declared(short_folder: Path) -> dict[str, Any]:
    """Two models of our own: a copy of the built-in one, and one that is cut off."""
    shutil.copytree(BUILT_IN_FOLDER, short_folder / "good model")
    shutil.copytree(BUILT_IN_FOLDER, short_folder / "cut")
    os.truncate(short_folder / "cut" / "model.safetensors", 5_000)
    return {
        "team/own": {"task": "embedding", "source": f"file://{short_folder}/good%20model"},
        "cut": {"task": "embedding", "source": f"file://{short_folder}/cut"},
    }


@pytest.fixture(scope="module")
def host(short_folder: Path, declared: dict[str, Any]) -> Iterator[Host]:
    folder = short_folder / "shared"
    folder.mkdir()
    host = Host(folder, models=declared, serving={"max_batch_texts": 3000})
    assert host.start(), host.output.read_text()
    yield host
    host.send(signal.SIGTERM)
    try:
        assert host.wait() == 0, host.output.read_text()
    finally:
        host.end()


@pytest.fixture
def own_host(short_folder: Path) -> Iterator[Host]:
    """A host that a test may harm; not started yet."""
    with tempfile.TemporaryDirectory(dir=short_folder) as folder:
        host = Host(Path(folder), serving={"threads": 1})
        yield host
        host.end()


@pytest.fixture
async def provider(host: Host) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(LocalSettings(socket=str(host.socket)))
    await provider.open(Secrets())
    yield provider
    await provider.close()


async def send(
    provider: LocalProvider,
    inputs: Any,
    *,
    model: str = BUILT_IN,
    dimensions: int | None = None,
    seconds: float = DEADLINE,
) -> Reply:
    request = InferenceRequest("embedding", "openai", model, b"", inputs=inputs, dimensions=dimensions)
    now = asyncio.get_running_loop().time()
    return await provider.send(Call(request, "rid", model, None, Timeouts(), now, now + seconds, {}))


async def embed(provider: LocalProvider, *texts: str, **options: Any) -> list[bytes]:
    reply = await send(provider, list(texts), **options)
    result = reply.result
    assert isinstance(result, EmbeddingResult)
    width = result.dimensions * 4
    data = bytes(result.data)
    assert result.rows == len(texts)
    assert len(data) == result.rows * width
    return [data[at : at + width] for at in range(0, len(data), width)]


def test_only_its_own_user_reaches_it(host: Host) -> None:
    assert stat.S_IMODE(host.socket.stat().st_mode) == 0o600


async def test_vectors_are_those_of_the_model(provider: LocalProvider) -> None:
    rows = [row for row in json.loads(EXPECTED.read_text())["rows"] if row["text"]]
    vectors = await embed(provider, *(row["text"] * row.get("times", 1) for row in rows))
    for row, vector in zip(rows, vectors, strict=True):
        wanted = memoryview(base64.b64decode(row["embedding"])).cast("f")
        assert memoryview(vector).cast("f").tolist() == pytest.approx(wanted.tolist(), abs=1e-6)


async def test_usage_counts_the_tokens_that_were_read(provider: LocalProvider) -> None:
    reply = await send(provider, ["hello world", "hello"])
    assert reply.usage is not None
    assert (reply.usage.input, reply.usage.output, reply.usage.exact) == (3, 0, True)


async def test_dimensions_are_honoured(provider: LocalProvider) -> None:
    (vector,) = await embed(provider, "hello world", dimensions=64)
    assert len(vector) == 64 * 4


@pytest.mark.parametrize(
    ("inputs", "options", "field"),
    [
        ([], {}, "input"),
        (None, {}, "input"),
        ([""], {}, "input"),
        (["a", ""], {}, "input"),
        ([[1, 2, 3]], {}, "input"),
        (["\ud800"], {}, "input"),
        (["a"] * 2049, {}, "input"),
        (["a"], {"dimensions": 0}, "dimensions"),
        (["a"], {"dimensions": 257}, "dimensions"),
    ],
)
async def test_wrong_requests_are_refused_by_the_name_of_the_field(
    provider: LocalProvider, inputs: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        await send(provider, inputs, **options)
    assert refusal.value.param == field


async def test_embeddings_are_not_streamed(provider: LocalProvider) -> None:
    request = InferenceRequest("embedding", "openai", BUILT_IN, b"", stream=True, inputs=["a"])
    with pytest.raises(Invalid):
        await anext(provider.stream(Call(request, "rid", BUILT_IN, None, Timeouts(), 0, 1, {})))


async def test_declared_models_are_served_and_a_broken_one_harms_nobody(provider: LocalProvider) -> None:
    assert await provider.models() == [BUILT_IN, "team/own"]
    assert await embed(provider, "hello", model="team/own") == await embed(provider, "hello")
    with pytest.raises(Unavailable, match=r"model\.safetensors"):
        await embed(provider, "hello", model="cut")
    with pytest.raises(ModelNotFound):
        await embed(provider, "hello", model="nope")


async def test_callers_at_once_get_their_own_answers(provider: LocalProvider) -> None:
    texts = [" ".join(f"word{number * place}" for place in range(number % 40 + 1)) for number in range(120)]
    alone = [(await embed(provider, text))[0] for text in texts]

    async def several(start: int) -> None:
        mine = texts[start : start + 1 + start % 7]
        assert await embed(provider, *mine) == alone[start : start + len(mine)]

    await asyncio.gather(*(several(start) for start in range(len(texts) - 7) for _ in range(3)))


async def test_a_killed_host_is_unavailable_and_a_new_one_answers(own_host: Host) -> None:
    assert own_host.start(), own_host.output.read_text()
    provider = LocalProvider(LocalSettings(socket=str(own_host.socket)))
    before = await embed(provider, "hello")
    own_host.send(signal.SIGSTOP)
    calls = [asyncio.create_task(embed(provider, "hello", str(number))) for number in range(5)]
    await asyncio.sleep(0.05)
    assert not any(call.done() for call in calls)
    own_host.send(signal.SIGKILL)
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, Unavailable)
        assert error.retry_after
    own_host.wait()
    with pytest.raises(Unavailable):
        await embed(provider, "hello")
    assert own_host.start(), own_host.output.read_text()
    assert await embed(provider, "hello") == before
    await provider.close()


async def test_a_stuck_host_times_out(own_host: Host) -> None:
    assert own_host.start(), own_host.output.read_text()
    provider = LocalProvider(LocalSettings(socket=str(own_host.socket), timeout_seconds=0.1))
    own_host.send(signal.SIGSTOP)
    with pytest.raises(TimedOut):
        await embed(provider, "hello")
    own_host.send(signal.SIGCONT)
    patient = LocalProvider(LocalSettings(socket=str(own_host.socket)))
    assert await embed(patient, "hello")
    await provider.close()
    await patient.close()


async def pending(host: Host) -> int:
    """Requests that wait for a thread, as its metrics say."""
    reader, writer = await asyncio.open_unix_connection(str(host.socket))
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    line = next(line for line in text.splitlines() if line.startswith("nv_inference_pending_request_count{"))
    return int(line.rpartition(" ")[2])


async def until_pending(host: Host, enough: Callable[[int], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not enough(await pending(host)):  # noqa: ASYNC110  it is another process
            await asyncio.sleep(0.005)


async def crowd(host: Host, provider: LocalProvider) -> list[asyncio.Task[list[bytes]]]:
    """More long requests than the host has threads; some of them wait."""
    calls = [asyncio.create_task(embed(provider, *[LONG_TEXT] * TEXTS)) for _ in range(4)]
    await until_pending(host, lambda waiting: waiting > 0)
    return calls


async def test_sigterm_lets_it_finish_what_it_has(own_host: Host) -> None:
    assert own_host.start(), own_host.output.read_text()
    provider = LocalProvider(LocalSettings(socket=str(own_host.socket)))
    calls = await crowd(own_host, provider)
    own_host.send(signal.SIGTERM)
    vectors = await asyncio.gather(*calls)
    assert all(len(each) == TEXTS for each in vectors)
    assert await asyncio.to_thread(own_host.wait) == 0, own_host.output.read_text()
    with pytest.raises(Unavailable):
        await embed(provider, "hello")
    await provider.close()


async def test_what_callers_left_is_not_computed(own_host: Host) -> None:
    assert own_host.start(), own_host.output.read_text()
    provider = LocalProvider(LocalSettings(socket=str(own_host.socket)))
    calls = await crowd(own_host, provider)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await until_pending(own_host, lambda waiting: waiting == 0)
    assert await embed(provider, "hello")
    await provider.close()


async def test_it_does_not_outlive_its_supervisor(own_host: Host) -> None:
    assert own_host.start(), own_host.output.read_text()
    own_host.abandon()
    assert await asyncio.to_thread(own_host.wait) != 0


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ({"m": {"task": "embedding", "source": "hf://org/name"}}, "models.m.source: hf://org/name is not supported"),
        ({"m": {"task": "chat", "source": "file:///srv/m"}}, "models.m.task"),
    ],
)
def test_a_source_that_cannot_be_served_stops_the_start(short_folder: Path, models: Any, reason: str) -> None:
    with tempfile.TemporaryDirectory(dir=short_folder) as folder:
        host = Host(Path(folder), models=models)
        assert not host.start()
        assert host.wait() == 2
        assert reason in host.output.read_text()
        assert "Traceback" not in host.output.read_text()
        host.end()


async def test_errors_are_always_ours(provider: LocalProvider) -> None:
    names = ["", "a/b", "..", "%2F", "x" * 3000, "\u0928\u092e", "a b?c#d"]
    for name in names:
        with pytest.raises(PolyforgeError):
            await embed(provider, "hello", model=name)
