"""Passwords as Argon2id (RFC 9106), a few at a time so that a flood of sign-ins cannot take the machine."""

import asyncio
import base64
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from polyforge.kernel.errors import Invalid, Unavailable
from polyforge.tenancy.people.password_rules import MAX_LENGTH, normal_password, weakness

Answer = TypeVar("Answer")

_AT_ONCE: Final = 2
_WAITING: Final = 32
_SALT_BYTES: Final = 16
_TAG_BYTES: Final = 32


class Argon2Profile(msgspec.Struct, frozen=True):
    """What one hash costs."""

    passes: int = 3
    memory_kib: int = 65_536
    lanes: int = 4


RFC_9106_LOW_MEMORY: Final = Argon2Profile()
"""The second recommended option of RFC 9106 section 4."""


class Passwords:
    """Hashes and checks passwords in threads, at most two at once; Unavailable when too many wait already."""

    def __init__(self, profile: Argon2Profile = RFC_9106_LOW_MEMORY, *, waiting: int = _WAITING) -> None:
        self._hasher = PasswordHasher(
            profile.passes, profile.memory_kib, profile.lanes, hash_len=_TAG_BYTES, salt_len=_SALT_BYTES
        )
        self._nobodys = _nobodys(profile)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "password")
        self._waiting = waiting
        self._pending = 0

    def close(self) -> None:
        """Begin no hash any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str, *known: str) -> str:
        """A new password in PHC form; Invalid when it is too weak for somebody of whom `known` is known."""
        password = normal_password(password)
        reason = weakness(password, *known)
        if reason is not None:
            raise Invalid(reason, param="password")
        return await self._run(self._hasher.hash, password)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether a password is the right one; takes as long when there is none to compare with, as for a stranger."""
        if len(password) > MAX_LENGTH:
            return False
        return await self._run(self._matches, kept or self._nobodys, normal_password(password))

    async def renewed(self, kept: str, password: str) -> str | None:
        """The hash of a password that was just verified, when it was kept at another cost than today's."""
        if not self._hasher.check_needs_rehash(kept):
            return None
        return await self._run(self._hasher.hash, normal_password(password))

    def _matches(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., Answer], *arguments: str) -> Answer:
        if self._pending >= self._waiting:
            raise Unavailable("too many passwords are being checked; try again", retry_after=1.0)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))
        finally:
            self._pending -= 1


def _nobodys(profile: Argon2Profile) -> str:
    """A hash that no password has, at the cost of any other, without the time it takes to compute one."""
    salt, tag = (base64.b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (_SALT_BYTES, _TAG_BYTES))
    return f"$argon2id$v=19$m={profile.memory_kib},t={profile.passes},p={profile.lanes}${salt}${tag}"
