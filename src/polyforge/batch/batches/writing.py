"""How what came of a line is written down."""

from typing import Protocol

from polyforge.dialects.openai_batches import BatchUsage, Line, write_answer, write_refusal, write_undone
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.ids import new_ulid
from polyforge.kernel.money import Micros


class Writer(Protocol):
    """Writes down one line after another, each with its line break; in any order."""

    def answer(self, line: Line, request_id: str, body: bytes, used: BatchUsage, price: Micros) -> bytes:
        """It was answered; `body` is JSON in one line."""
        ...

    def refusal(self, line: Line, error: PolyforgeError) -> bytes:
        """It was refused for good."""
        ...

    def undone(self, line: Line, code: str, message: str) -> bytes:
        """Its call was never made."""
        ...


class OpenAIWriter:
    """The lines of the files that OpenAI's batches make."""

    def __init__(self, ulid: str) -> None:
        self._ulid = ulid

    def answer(self, line: Line, request_id: str, body: bytes, used: BatchUsage, price: Micros) -> bytes:
        """It was answered."""
        del used, price
        return write_answer(self._id_of(line), line.custom_id, 200, request_id, body)

    def refusal(self, line: Line, error: PolyforgeError) -> bytes:
        """It was refused for good."""
        return write_refusal(self._id_of(line), line.custom_id, new_ulid(), error)

    def undone(self, line: Line, code: str, message: str) -> bytes:
        """Its call was never made."""
        return write_undone(self._id_of(line), line.custom_id, code, message)

    def _id_of(self, line: Line) -> str:
        return f"batch_req_{self._ulid}_{line.number}"
