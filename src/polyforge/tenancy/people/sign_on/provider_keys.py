"""The keys that an identity provider signs with: fetched when needed, kept, and followed when they rotate.

Whatever is sent to us with an unknown key id makes us ask at most once a minute, and an answer that is no key set does
not replace one that was. So nobody can have us ask all the time, or forget good keys.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import PolyforgeError, UpstreamFailed

FRESH_SECONDS: Final = 3_600.0
AGAIN_SECONDS: Final = 60.0
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2_048
KEY_TYPES: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that are taken, all asymmetric, and the type and curve of the key that each needs."""
_NEVER: Final = float("-inf")


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class ProviderKeys:
    """The key set of one provider, which `fetch` gets."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._fetched_at = _NEVER
        self._tried_at = _NEVER
        self._turn = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key of this id for this algorithm; without an id the only one that fits.

        UpstreamFailed when there is none, and for an algorithm that is not taken.
        """
        if self._clock.monotonic() - self._fetched_at >= FRESH_SECONDS:
            await self._renew()
        found = self._fitting(kid, algorithm)
        if found is None:
            await self._renew()
            found = self._fitting(kid, algorithm)
        if found is None:
            raise UpstreamFailed("the identity provider signed with a key that it does not publish")
        return found

    def _fitting(self, kid: str | None, algorithm: str) -> PyJWK | None:
        if algorithm not in KEY_TYPES:
            return None
        fitting = [key for key in self._keys if _fits(key, kid, algorithm)]
        if not fitting or (kid is None and len(fitting) > 1):
            return None
        return _usable(fitting[0], algorithm)

    async def _renew(self) -> None:
        """Fetch the keys, unless that was tried less than a minute ago; keys that are there outlive a failure."""
        async with self._turn:
            now = self._clock.monotonic()
            if now - self._tried_at < AGAIN_SECONDS:
                return
            self._tried_at = now
            try:
                self._keys = _keys_in(await self._fetch())
                self._fetched_at = now
            except PolyforgeError:
                if not self._keys:
                    self._tried_at = _NEVER
                    raise


def _keys_in(body: bytes) -> list[dict[str, Any]]:
    try:
        keys = msgspec.json.decode(body, type=_KeySet).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed("the identity provider's key set cannot be read") from error
    usable = [key for key in keys[:MAX_KEYS] if any(_fits(key, None, algorithm) for algorithm in KEY_TYPES)]
    if not usable:
        raise UpstreamFailed("the identity provider publishes no key that can be used")
    return usable


def _fits(key: Mapping[str, Any], kid: str | None, algorithm: str) -> bool:
    kty, curve = KEY_TYPES[algorithm]
    if key.get("kty") != kty or (curve is not None and key.get("crv") != curve):
        return False
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return False
    return kid is None or key.get("kid") == kid


def _usable(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    """The key, bound to the algorithm; None when it is broken or too weak."""
    public = {name: value for name, value in key.items() if name != "d"}
    try:
        read = PyJWK.from_dict(public, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(read.key, RSAPublicKey) and read.key.key_size < MIN_RSA_BITS:
        return None
    return read
