"""The process of one engine: builds it from its folder, and answers the host frame by frame. Started by the host."""

import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec

from polyforge.adapters.model_backends.engine import child_messages
from polyforge.adapters.model_backends.engine.child_messages import Order
from polyforge.isolation.frames import Frame
from polyforge.isolation.program import CannotServe, Program, Replies, Reply
from polyforge.kernel.errors import NotSupported, PolyforgeError
from polyforge.ports.model_backend import ModelBackend, ModelRequest, Outputs, StreamingBackend
from polyforge.serving.hints import EngineHints
from polyforge.wiring.engines import engine_here


class IsolatedEngine:
    """An engine that is asked by frames."""

    def __init__(self, engine: ModelBackend) -> None:
        self._engine = engine

    def hello(self) -> bytes:
        """What the loaded engine takes and gives; how many runs the host has, nobody tells this process."""
        signature = msgspec.structs.replace(self._engine.signature, spreads=False)
        return msgspec.json.encode(child_messages.Hello(signature))

    def answer(self, frame: Frame) -> Replies:
        """What the engine answers to an order of the host."""
        order = msgspec.json.decode(frame.header, type=Order)
        requests = child_messages.decode_requests(order, frame.payload)
        if order.do == "run":
            return child_messages.encode_answers(self._run(requests))
        if order.do == "stream":
            return self._stream(requests[0])
        return child_messages.encode_answers(self._warm_up())

    def _warm_up(self) -> Sequence[PolyforgeError]:
        """What is wrong, if anything is."""
        try:
            self._engine.warm_up()
        except PolyforgeError as error:
            return [error]
        return ()

    def _stream(self, request: ModelRequest) -> Generator[Reply]:
        if not self._engine.signature.streams:
            yield child_messages.encode_answers([NotSupported("this engine gives one answer to a request")])
            return
        try:
            with closing(cast(StreamingBackend, self._engine).stream(request)) as answers:
                for outputs in answers:
                    yield child_messages.encode_answers([outputs])
        except PolyforgeError as error:
            yield child_messages.encode_answers([error])
        except Exception as error:  # noqa: BLE001  what nobody foresaw: whole in the log, opaque to the caller
            traceback.print_exc()
            yield child_messages.encode_answers([PolyforgeError(type(error).__name__)])

    def _run(self, requests: Sequence[ModelRequest]) -> Sequence[Outputs | PolyforgeError]:
        """One answer per request; when a batch breaks the engine, each of its requests is tried alone."""
        try:
            return self._engine.run(requests)
        except Exception as error:  # noqa: BLE001  what nobody foresaw: whole in the log, opaque to the caller
            traceback.print_exc()
            if len(requests) == 1:
                return [PolyforgeError(type(error).__name__)]
        return [answer for request in requests for answer in self._run([request])]


def main() -> None:
    """Be the process that the command line describes."""
    program = Program(sys.argv[-1])
    folder = Path(program.arguments["folder"])
    hints = msgspec.convert(program.arguments["hints"], EngineHints)

    def start() -> tuple[bytes, Callable[[Frame], Replies]]:
        try:
            engine = engine_here(folder, hints)
            engine.load()
        except PolyforgeError as error:
            raise CannotServe(error.message) from error
        isolated = IsolatedEngine(engine)
        return isolated.hello(), isolated.answer

    program.run(start)


if __name__ == "__main__":
    main()
