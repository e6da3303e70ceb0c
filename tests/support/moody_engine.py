"""An engine of somebody else, installed beside the platform: it crashes or hangs when a text asks it to.

The file `loads` beside the folders of its models gets the name of each that is loaded.
"""

from pathlib import Path

SOURCE = '''
import ctypes
import struct
import threading
from pathlib import Path

from pydantic import BaseModel

from polyforge.kernel.tensors import Tensor, TensorSpec, unpack_strings
from polyforge.ports.model_backend import Signature


class Settings(BaseModel):
    folder: Path


class Moody:
    """BYTES `text` [n] to FP32 `embedding` [n, 1], the length of each text, and INT32 `tokens` [n]."""

    signature = Signature(
        "moody",
        (TensorSpec("text", "BYTES", (-1,)),),
        (TensorSpec("embedding", "FP32", (-1, 1)), TensorSpec("tokens", "INT32", (-1,))),
    )

    def __init__(self, settings):
        self._settings = settings

    def load(self):
        with (self._settings.folder.parent / "loads").open("a") as loads:
            loads.write(f"{self._settings.folder.name}\\n")
        if (self._settings.folder / "crash").exists():
            ctypes.string_at(0)

    def warm_up(self):
        pass

    def run(self, batch):
        return [self._answer(request.inputs["text"]) for request in batch]

    def _answer(self, given):
        texts = unpack_strings(given.data, given.count)
        if b"crash" in texts:
            ctypes.string_at(0)
        if b"hang" in texts:
            threading.Event().wait()
        if b"freeze" in texts:
            ctypes.PyDLL(None).pause()
        counts = [len(text) for text in texts]
        return (
            Tensor("embedding", "FP32", (len(texts), 1), struct.pack(f"<{len(texts)}f", *counts)),
            Tensor("tokens", "INT32", (len(texts),), struct.pack(f"<{len(texts)}i", *counts)),
        )

    def close(self):
        pass
'''
METADATA = "Metadata-Version: 2.1\nName: moody\nVersion: 1\n"
ENTRY_POINTS = "[polyforge.model_backends]\nmoody = moody_engine:Moody\n"


def install(folder: Path) -> dict[str, str]:
    """Install it into a folder; the environment in which processes find it there."""
    info = folder / "moody-1.dist-info"
    info.mkdir(parents=True)
    (folder / "moody_engine.py").write_text(SOURCE)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return {"PYTHONPATH": str(folder)}
