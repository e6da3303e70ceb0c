"""Forms read as they come: the same whatever pieces they come in, and as `multipart` reads them whole."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects.multipart import read_form
from polyforge.dialects.multipart_stream import FormReader
from polyforge.kernel.errors import Invalid

BOUNDARY = b"boundary-42"


def source(pieces: list[bytes]) -> Callable[[], Awaitable[bytes]]:
    left = [piece for piece in pieces if piece]

    async def following() -> bytes:
        return left.pop(0) if left else b""

    return following


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def form(*parts: tuple[str, bytes], boundary: bytes = BOUNDARY) -> bytes:
    """A form; the disposition of each part without `form-data`, and its content."""
    body = b""
    for disposition, content in parts:
        body += b"--" + boundary + b"\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n"
        body += content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


async def read(pieces: list[bytes]) -> list[tuple[str, str | None, bytes]]:
    """All of a form."""
    reader = FormReader(source(pieces))
    found: list[tuple[str, str | None, bytes]] = []
    while (head := await reader.next()) is not None:
        found.append((head.name, head.file_name, b"".join([piece async for piece in reader.content()])))
    return found


PARTS = form(
    ('name="purpose"', b"batch"),
    ('name="file"; filename="a.jsonl"', b"one\r\n--boundary-4\r\n\r\n-\r\n--boundar\r\n"),
    ('name="empty"', b""),
)
EXPECTED = [
    ("purpose", None, b"batch"),
    ("file", "a.jsonl", b"one\r\n--boundary-4\r\n\r\n-\r\n--boundar\r\n"),
    ("empty", None, b""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_it_is_the_same_whatever_pieces_it_comes_in(size: int) -> None:
    assert await read(cut(PARTS, size)) == EXPECTED


@given(
    st.lists(st.binary(max_size=300).filter(lambda content: b"\r\n--boundary-42" not in b"\r\n" + content), max_size=5),
    st.integers(1, 50),
)
def test_it_reads_what_is_read_whole(contents: list[bytes], size: int) -> None:
    body = form(*[(f'name="f{number}"', content) for number, content in enumerate(contents)])
    if not contents:
        return
    whole = read_form(body)
    assert asyncio.run(read(cut(body, size))) == [
        (part.name, None, body[part.start : part.end]) for part in whole.parts
    ]


async def test_content_that_nobody_reads_is_passed_over() -> None:
    reader = FormReader(source(cut(PARTS, 5)))
    names: list[str] = []
    while (head := await reader.next()) is not None:
        names.append(head.name)
    assert names == ["purpose", "file", "empty"]
    assert await reader.next() is None


async def test_little_of_a_file_is_held() -> None:
    asked = 0
    body = form(('name="file"; filename="x"', bytes(5_000_000)))
    pieces = cut(body, 50_000)

    async def following() -> bytes:
        nonlocal asked
        asked += 1
        return pieces.pop(0) if pieces else b""

    reader = FormReader(following)
    assert await reader.next() is not None
    content = reader.content()
    seen = 0
    async for piece in content:
        seen += len(piece)
        assert seen >= (asked - 1) * 50_000 - 200
    assert seen == 5_000_000


@pytest.mark.parametrize(
    ("disposition", "file_name"),
    [
        ('name="file"; filename="a b.txt"', "a b.txt"),
        ('name="file"; filename="naïve.txt"', "naïve.txt"),
        ('name="file"; filename="a\\"b"', 'a"b'),
        ("name=\"file\"; filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
        ('name="file"; filename=""', ""),
        ('name="file"', None),
    ],
)
async def test_it_tells_what_a_file_is_called(disposition: str, file_name: str | None) -> None:
    assert await read([form((disposition, b"x"))]) == [("file", file_name, b"x")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"--",
        b"--" + b"b" * 100,
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--bc--",
        b"--b\r\n" + b"x" * 5_000 + b"\r\n\r\nx\r\n--b--",
        b"--b\r\nX: y\r\n\r\nx\r\n--b--",
        form(*[(f'name="f{number}"', b"") for number in range(1_001)]),
    ],
)
async def test_what_is_no_form_is_refused(body: bytes) -> None:
    for size in (1, 10_000):
        with pytest.raises(Invalid):
            await read(cut(body, size))


async def test_a_text_is_short_and_utf_8() -> None:
    for part in (
        ('name="a"', "x".encode("utf-16")),
        ('name="a"', b"x" * 70_000),
        ('name="a"; filename="f"', b"x"),
    ):
        reader = FormReader(source([form(part)]))
        head = await reader.next()
        assert head is not None
        with pytest.raises(Invalid):
            await reader.text(head)
    reader = FormReader(source([form(('name="a"', "é".encode()), ('name="b"', b"2"))]))
    found: dict[str, str] = {}
    while (head := await reader.next()) is not None:
        found[head.name] = await reader.text(head)
    assert found == {"a": "é", "b": "2"}
