"""A process that is killed while it fetches a model: the next one goes on where it stopped."""

import asyncio
import sys
from hashlib import sha256
from pathlib import Path

from polyforge.adapters.model_sources.https import HttpsSource, Settings
from polyforge.kernel.clock import SystemClock
from polyforge.ports.model_source import SourceReference
from polyforge.registry.artifacts.downloading import Progress
from polyforge.registry.artifacts.fetching import Fetcher
from polyforge.registry.artifacts.folder import ArtifactFolder
from polyforge.registry.artifacts.settings import ArtifactSettings
from tests.support.file_server import serving_files
from tests.support.waiting import eventually_async

CONTENT = bytes(range(256)) * 4_000
HALF = 500_000
FETCH = """
import asyncio, sys
from tests.faults.test_kill_download import fetch
asyncio.run(fetch(sys.argv[1], sys.argv[2]))
"""


async def fetch(folder: str, url: str) -> str:
    """Fetch what is behind the URL; the digest."""
    settings = ArtifactSettings(keep_free_bytes=0)
    fetcher = Fetcher(ArtifactFolder(Path(folder)), {"http": HttpsSource(Settings())}, settings, SystemClock())
    reference = SourceReference(url, sha256(CONTENT).hexdigest(), trusted=True)
    return (await fetcher.fetch(reference, (), Progress())).artifact.digest


async def test_what_a_killed_process_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    async with serving_files() as server:
        server.files["/model.onnx"] = CONTENT
        server.stalls = HALF
        url = f"{server.url}/model.onnx"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", FETCH, str(tmp_path), url)
        try:
            await eventually_async(lambda: _fetched(tmp_path) == HALF, "half of the model")
            waiting = asyncio.create_task(fetch(str(tmp_path), url))
            await eventually_async(lambda: len(server.requests) == 3, "somebody else who asks")
            assert len(server.downloads) == 1
        finally:
            child.kill()
            await child.wait()
        server.stalls = None
        digest = await waiting
        artifact = ArtifactFolder(tmp_path).get(digest)
        assert (artifact.folder / "model.onnx").read_bytes() == CONTENT
        assert [each.headers.get("range") for each in server.downloads] == [None, f"bytes={HALF}-"]


def _fetched(folder: Path) -> int:
    return sum(part.stat().st_size for part in folder.glob("partial/*/0.part"))
