"""OpenAI's encodings, which come with the package, and tokenizer.json files of other models; nothing is downloaded."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol, cast

from tokenizers import Tokenizer

from polyforge.kernel.errors import Unavailable
from polyforge.tokens.families import EncodingName

try:
    from rs_bpe import openai as bundled  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
except ImportError:  # It has no wheels for the newest versions of Python.
    _library: Any = None
else:
    _library = cast(Any, bundled)

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_MAX_FILES: Final = 8
_SLICE: Final = 65_536
_SEAM: Final = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
"""Where both encodings always begin a new piece, so that counts on either side add up."""


class Encoding(Protocol):
    """Text to tokens."""

    def count(self, text: str) -> int:
        """How many tokens."""
        ...

    def encode(self, text: str) -> list[int]:
        """Their ids."""
        ...


class Encodings:
    """Loads each encoding once, when it is first wanted. To be called in threads: loading and counting take time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: dict[str | Path, Encoding] = {}
        self.has_openais = _library is not None
        """Whether OpenAI's are there: their library is missing under Python 3.14 and later."""

    def named(self, name: EncodingName) -> Encoding:
        """One of OpenAI's."""
        return self._once(
            name,
            lambda: _Bundled(cast(Encoding, _library.o200k_base() if name == "o200k_base" else _library.cl100k_base())),
        )

    def of_file(self, path: Path) -> Encoding:
        """That of a tokenizer.json; Unavailable when it cannot be read."""
        return self._once(path, lambda: _FromFile(path))

    def _once(self, key: str | Path, load: Callable[[], Encoding]) -> Encoding:
        with self._lock:
            found = self._loaded.get(key)
            if found is None:
                if len(self._loaded) >= _MAX_FILES:
                    self._loaded.pop(next(iter(self._loaded)))
                found = self._loaded[key] = load()
        return found


class _Bundled:
    """One of OpenAI's encodings. What looks like a special token is text, as it is in what callers send."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        return sum(self._encoding.count(part) for part in slices(text))

    def encode(self, text: str) -> list[int]:
        return [token for part in slices(text) for token in self._encoding.encode(part)]


class _FromFile:
    def __init__(self, path: Path) -> None:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise Unavailable(f"{path} is larger than {MAX_FILE_BYTES} bytes")
            self._tokenizer = Tokenizer.from_file(str(path))
        except Unavailable:
            raise
        except Exception as error:  # the library raises plain Exception
            raise Unavailable(f"{path} is no tokenizer that can be read: {error}") from error

    def count(self, text: str) -> int:
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


def slices(text: str) -> Iterator[str]:
    """A text in parts that tokenize on their own: the library holds the interpreter's lock for each of them."""
    start = 0
    while len(text) - start > _SLICE:
        seam = _SEAM.search(text, start + _SLICE)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]
