"""Code in nodes, within what the operator allows."""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from polyforge.flows.document import Json
from polyforge.flows.facilities.settings import CodeLimits
from polyforge.flows.running.contract import SandboxLimits
from polyforge.flows.running.turns import in_turn
from polyforge.isolation.sandbox import Sandbox
from polyforge.kernel.errors import Invalid, NotConfigured

_MIB: Final = 1 << 20
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class PythonCode:
    """Runs Python apart, each time in a process of its own. `allowed` is the operator's word."""

    def __init__(self, limits: CodeLimits, *, allowed: bool) -> None:
        self._limits = limits
        self._allowed = allowed
        self._sandbox = Sandbox(limits.at_once)
        self._places = asyncio.Semaphore(limits.at_once)

    def close(self) -> None:
        """Take no more."""
        self._sandbox.close()

    async def run(self, code: str, inputs: Mapping[str, Json], limits: SandboxLimits) -> Json:
        """What the code left as `result`; errors as for `Sandbox.run`, NotConfigured where no code may run."""
        if not self._allowed:
            raise NotConfigured("code in flows is off here; the operator can set `flows.code: on`")
        most = self._limits.memory_mb * _MIB
        if limits.memory_bytes > most:
            raise Invalid(f"code may have at most {self._limits.memory_mb} MiB here", param="memory_mb")
        async with in_turn(self._places):
            left = await self._sandbox.run(
                code,
                _encode(inputs),
                memory_bytes=limits.memory_bytes,
                seconds=min(limits.seconds, self._limits.seconds),
                output_bytes=limits.output_bytes,
            )
        try:
            return _decode(left)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Invalid("the code left something that is no JSON", param="code") from error
