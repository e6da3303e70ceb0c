"""Sealing: AES-256-GCM (NIST SP 800-38D) under master keys, of which one seals and all open.

A sealed value is `version (1 byte), id of the master key (8), nonce (12), ciphertext with its tag`. What it belongs to
is bound to it as associated data, so that a sealed value moved to another row does not open. Keys for other purposes
are derived from the master keys with HKDF-SHA-256 (RFC 5869), one per purpose.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from polyforge.kernel.errors import SettingsError

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
HEAD_BYTES: Final = 1 + _ID_BYTES
"""The beginning of a sealed value that is the same for all that one master key seals."""
_BODY: Final = HEAD_BYTES + _NONCE_BYTES


class Unsealable(Exception):
    """It was sealed with a master key that is not at hand, for something else, or was tampered with."""


class MasterKeys:
    """The master key and those before it. `keys[0]` seals; each has 32 bytes."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SettingsError(f"secrets.master_key: a master key has {KEY_BYTES} bytes")
        self._keys = {_id_of(key): key for key in reversed(keys)}
        self._current = keys[0]
        self.current = _id_of(self._current).hex()
        """Which master key seals, in hexadecimal; says nothing about the key."""
        self.known = frozenset(id_.hex() for id_ in self._keys)
        """Those that can open."""
        self.head = _VERSION + _id_of(self._current)
        """How everything begins that is sealed now."""

    def seal(self, value: bytes, belongs_to: str) -> bytes:
        """The value, sealed for what it belongs to."""
        nonce = os.urandom(_NONCE_BYTES)
        return self.head + nonce + AESGCM(self._current).encrypt(nonce, value, belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """The value; Unsealable when it cannot be had."""
        key = self._keys.get(sealed[1:HEAD_BYTES])
        if not sealed.startswith(_VERSION) or key is None:
            raise Unsealable("the master key that this was sealed with is not configured")
        nonce = sealed[HEAD_BYTES:_BODY]
        try:
            return AESGCM(key).decrypt(nonce, sealed[_BODY:], belongs_to.encode())
        except (InvalidTag, ValueError) as error:  # the latter for what is too short to be sealed
            raise Unsealable("the sealed value was changed, or belongs to something else") from error

    @staticmethod
    def sealed_with(sealed: bytes) -> str:
        """Which master key sealed it, as `current` says it."""
        return sealed[1:HEAD_BYTES].hex()

    def derive(self, purpose: str) -> list[bytes]:
        """A 32-byte key per master key, the current one's first, that is of use for one purpose only."""
        ordered = [self._current, *(key for key in self._keys.values() if key != self._current)]
        return [HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key) for key in ordered]


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"polyforge master key\0" + key).digest()[:_ID_BYTES]
