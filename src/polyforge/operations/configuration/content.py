"""What of polyforge.yaml may change while the platform runs, as data: compared, masked, kept as JSON."""

import hmac
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, cast

import msgspec

from polyforge.secrets.sealing import MasterKeys
from polyforge.telemetry.masking import MASK, mask_text, names_secret

SECTIONS: Final = ("models", "providers")
"""The sections that are taken again."""
_PURPOSE: Final = "configuration digest"
_REFERENCES: Final = ("env:", "file:", "secret:")
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode

Path = tuple[str, ...]
Sections = Mapping[str, Any]


def sections_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sections out of all settings."""
    return {name: tree.get(name) or {} for name in SECTIONS}


def encode(sections: Sections) -> str:
    """As JSON, the same for the same content."""
    return _encode(sections).decode()


def decode(content: str) -> dict[str, Any]:
    """The sections that `encode` wrote."""
    return msgspec.json.decode(content, type=dict[str, Any])


def mask(sections: Sections, secrets: Collection[Path]) -> dict[str, Any]:
    """The sections with stars in place of each literal secret: at these paths, and whatever looks like one."""
    return {name: _mask(value, (name,), secrets) for name, value in sections.items()}


def _mask(value: Any, path: Path, secrets: Collection[Path]) -> Any:
    if isinstance(value, Mapping):
        inner = cast(Mapping[Any, Any], value)
        return {str(name): _mask(each, (*path, str(name)), secrets) for name, each in inner.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_mask(each, (*path, str(index)), secrets) for index, each in enumerate(cast(Sequence[Any], value))]
    if not isinstance(value, str) or value.startswith(_REFERENCES):
        return value
    if path in secrets or (path[0] == "providers" and names_secret(path[-1])):
        return MASK
    return mask_text(value.encode()).decode()


def is_masked(value: Any) -> bool:
    """Whether there are stars in it, so that it cannot be used as it stands."""
    if isinstance(value, Mapping):
        return any(is_masked(each) for each in cast(Mapping[Any, Any], value).values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(is_masked(each) for each in cast(Sequence[Any], value))
    return isinstance(value, str) and MASK in value


class Digests:
    """Tells whether two contents are the same without keeping the secrets in them, under a key of the installation."""

    def __init__(self, master: MasterKeys) -> None:
        self._keys = master.derive(_PURPOSE)

    def of(self, sections: Sections) -> bytes:
        """HMAC-SHA-256 over the sections, with the literal secrets in them."""
        return hmac.digest(self._keys[0], _encode(sections), sha256)

    def match(self, sections: Sections, digest: bytes) -> bool:
        """Whether `digest` is that of these sections, under this master key or one before it."""
        text = _encode(sections)
        return any(hmac.compare_digest(hmac.digest(key, text, sha256), digest) for key in self._keys)
