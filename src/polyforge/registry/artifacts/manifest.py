"""What an artifact is: its files by path, size and hash; the artifact's own name is the hash of that list."""

from hashlib import sha256
from typing import Final, Self

import msgspec

from polyforge.kernel.errors import Invalid
from polyforge.registry.artifacts.paths import check_paths

FORMAT: Final = 1
DIGEST_LENGTH: Final = 64
_DIGITS: Final = frozenset("0123456789abcdef")
_encode = msgspec.json.Encoder(order="deterministic").encode


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its path inside the artifact, its bytes, and their SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All files of an artifact, by path."""

    files: tuple[ManifestFile, ...]
    format: int = FORMAT

    @classmethod
    def of(cls, files: "list[ManifestFile]") -> Self:
        """The manifest of some files; Invalid when they cannot lie in one folder."""
        check_paths(file.path for file in files)
        return cls(tuple(sorted(files, key=lambda file: file.path)))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """As it is written down: the same bytes for the same files, always."""
        return _encode(self)

    @property
    def digest(self) -> str:
        """The name of the artifact."""
        return sha256(self.encode()).hexdigest()


def decode_manifest(content: bytes) -> Manifest:
    """A manifest as it was written down; Invalid for anything else."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise Invalid(f"the manifest has format {manifest.format}; this version reads {FORMAT}")
    check_paths(file.path for file in manifest.files)
    return manifest


def check_digest(text: str) -> str:
    """A SHA-256 in lower-case hexadecimal; Invalid for anything else."""
    if len(text) != DIGEST_LENGTH or not _DIGITS.issuperset(text):
        raise Invalid(f"{text[:80]!r} is no SHA-256; it has {DIGEST_LENGTH} hexadecimal digits in lower case")
    return text
