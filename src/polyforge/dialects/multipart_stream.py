"""Forms with files (RFC 7578), read as they come: a file goes past in pieces, and is never held as a whole."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from polyforge.dialects.multipart import HEAD_BYTES, MOST_PARTS, OPENING, Head, read_head
from polyforge.kernel.errors import Invalid

_OPENING_BYTES: Final = 80
_MOST_TEXT: Final = 64 * 1024
_NO_FORM: Final = "the body must be multipart/form-data, and begin with its boundary"
_BROKEN_OFF: Final = "the form breaks off; send it again"
NextPiece = Callable[[], Awaitable[bytes]]
"""Gives the body piece by piece, and an empty one at its end."""


class FormReader:
    """One form, from its beginning to its end: `next` goes to a part, `text` or `content` reads it."""

    def __init__(self, next_piece: NextPiece) -> None:
        self._next_piece = next_piece
        self._held = bytearray()
        self._delimiter = b""
        self._parts = 0
        self._unread = False
        self._over = False

    async def next(self) -> Head | None:
        """The head of the next part, None after the last. Content that nobody has read is passed over."""
        if self._unread:
            async for _ in self.content():
                pass
        if not self._delimiter:
            await self._open()
        if self._over:
            return None
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Invalid(f"the form has more than {MOST_PARTS} parts")
        head = read_head(
            await self._until(b"\r\n\r\n", HEAD_BYTES, "a part of the form has no headers, or too long ones")
        )
        self._unread = True
        return head

    async def text(self, head: Head) -> str:
        """The content of a field; Invalid for a file, what is too long, or no UTF-8."""
        if head.file_name is not None or not head.plain:
            raise Invalid(f"{head.name} must be a text", param=head.name)
        whole = bytearray()
        async for piece in self.content():
            whole += piece
            if len(whole) > _MOST_TEXT:
                raise Invalid(f"{head.name} must have at most {_MOST_TEXT} bytes", param=head.name)
        try:
            return whole.decode()
        except UnicodeDecodeError:
            raise Invalid(f"{head.name} must be UTF-8", param=head.name) from None

    async def content(self) -> AsyncGenerator[bytes]:
        """The content of the part whose head was read last."""
        delimiter, held = self._delimiter, self._held
        while (end := held.find(delimiter)) < 0:
            # The end of what is there may be the beginning of the delimiter.
            sure = len(held) - len(delimiter) + 1
            if sure > 0:
                piece = bytes(held[:sure])
                del held[:sure]
                yield piece
            await self._more()
        last = bytes(held[:end])
        del held[: end + len(delimiter)]
        await self._after_delimiter()
        self._unread = False
        if last:
            yield last

    async def _open(self) -> None:
        said = await self._until(b"\r\n", _OPENING_BYTES, _NO_FORM)
        opening = OPENING.fullmatch(said + b"\r\n")
        if opening is None:
            raise Invalid(_NO_FORM)
        self._delimiter = b"\r\n--" + opening[1]

    async def _after_delimiter(self) -> None:
        """Another part follows, or that was the last."""
        while len(self._held) < 2:  # noqa: PLR2004
            await self._more()
        mark = bytes(self._held[:2])
        del self._held[:2]
        if mark == b"--":
            self._over = True
        elif mark != b"\r\n":
            raise Invalid("the form's boundary stands where no part ends")

    async def _until(self, mark: bytes, most: int, otherwise: str) -> bytes:
        """What stands before a mark, which is taken away with it; Invalid when it is not among the next bytes."""
        while (end := self._held.find(mark, 0, most)) < 0:
            if len(self._held) >= most:
                raise Invalid(otherwise)
            await self._more()
        found = bytes(self._held[:end])
        del self._held[: end + len(mark)]
        return found

    async def _more(self) -> None:
        piece = await self._next_piece()
        if not piece:
            raise Invalid(_BROKEN_OFF if self._delimiter else _NO_FORM)
        self._held += piece
