"""Finds files that run code when they are read: pickles, by their content and by the names that only they have."""

import zipfile
from io import FileIO
from pathlib import Path
from typing import Final

from polyforge.kernel.errors import Invalid

_SUFFIXES: Final = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt", ".mar", ".pyc"}
)
_PROTOCOLS: Final = range(2, 6)
_PROTO: Final = 0x80
_FIRST_OPCODES: Final = frozenset(b"\x95}])(c\x8aK\x8cXUNGJMT\x89\x88CB\x8eji")
"""What a pickle's stream begins with after its protocol, of which the first is a frame."""
_ZIP: Final = b"PK\x03\x04"
_HEAD: Final = 8
_NO_ZIP: Final = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError)
"""What zipfile raises for files that it cannot read; the last for a version of the format that it does not know."""
_MAX_MEMBERS: Final = 100_000
MAX_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
"""What a zip file's list of contents may take: all of it is read into memory, and becomes ten times as much there."""
REMEDY: Final = "give the model as ONNX, safetensors or in the engine's own format instead"


def refuse_pickle(path: str, file: Path) -> None:
    """Nothing; Invalid when the file at `file`, called `path` in its model, would run code when it is read."""
    if any(path.lower().endswith(suffix) for suffix in _SUFFIXES):
        raise Invalid(f"{path}: files of this kind run code when they are read; {REMEDY}")
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if len(head) > 2 and head[0] == _PROTO and head[1] in _PROTOCOLS and head[2] in _FIRST_OPCODES:  # noqa: PLR2004
        raise Invalid(f"{path}: is a pickle, which runs code when it is read; {REMEDY}")
    if head.startswith(_ZIP) and _holds_pickle(path, file):
        raise Invalid(f"{path}: holds a pickle, which runs code when it is read; {REMEDY}")


class _Bounded(FileIO):
    """A file of which zipfile reads the list of contents, at once and however long the file says that it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; Invalid for more than a list of contents may have."""
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise Invalid(f"a zip file lists more than {MAX_DIRECTORY_BYTES} bytes of names")
        return super().read(size) or b""


def _holds_pickle(path: str, file: Path) -> bool:
    """PyTorch's files and archives of NumPy are zip files."""
    try:
        with _Bounded(file) as opened, zipfile.ZipFile(opened) as archive:
            names = archive.namelist()
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error
    except _NO_ZIP as error:
        raise Invalid(f"{path}: begins like a zip file, and is none") from error
    if len(names) > _MAX_MEMBERS:
        raise Invalid(f"{path}: has more than {_MAX_MEMBERS} files inside")
    return any(name.lower().endswith((".pkl", ".pickle")) for name in names)
