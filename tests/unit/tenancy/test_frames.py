"""Answers of server-sent events: where they go on, and that their place is given back."""

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from polyforge.kernel.errors import Invalid
from polyforge.tenancy.frames import StreamFrames, place_of


@pytest.mark.parametrize(
    ("after", "last", "place"),
    [(None, None, None), (3, None, 3), (3, "", 3), (3, "7", 7), (None, "0", 0), (None, "10", 10)],
)
def test_what_a_browser_says_when_it_resumes_counts_more_than_the_address(
    after: int | None, last: str | None, place: int | None
) -> None:
    assert place_of(after, last, most=10) == place


@pytest.mark.parametrize("last", ["11", "-1", "x", "1.5", "٣", " "])
def test_what_is_no_id_of_an_event_is_refused(last: str) -> None:
    with pytest.raises(Invalid) as refused:
        place_of(None, last, most=10)
    assert refused.value.param == "last-event-id"


class Place:
    """A stream and who gave it its place."""

    def __init__(self) -> None:
        self.released: list[object] = []

    async def frames(self) -> AsyncGenerator[bytes]:
        yield b": here\n\n"

    def release(self, stream: object) -> None:
        self.released.append(stream)


async def receive() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("version", ["2.3", "2.4"])
async def test_a_place_is_given_back_however_the_answer_ends(version: str) -> None:
    async def broken(message: MutableMapping[str, Any]) -> None:
        raise ConnectionResetError(message["type"])

    place = Place()
    answer = StreamFrames(place, place, headers={"location": "/there"})
    assert (answer.headers["cache-control"], answer.headers["location"]) == ("no-cache", "/there")
    with suppress(Exception):  # how a broken connection is told is the server's business
        await answer({"type": "http", "asgi": {"spec_version": version}}, receive, broken)
    assert place.released == [place]
