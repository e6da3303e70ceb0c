"""Several answers in one body, put together of whatever pieces they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects.oip_frames import Frame, FrameReader
from polyforge.kernel.errors import Invalid

FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(["answer", "last", "error"]), st.binary(max_size=40), st.binary(max_size=40))
)


@given(FRAMES, st.lists(st.integers(1, 30), min_size=1))
def test_frames_survive_any_cutting(frames: list[Frame], cuts: list[int]) -> None:
    body = b"".join(frame.encode() for frame in frames)
    reader, found, at = FrameReader(), list[Frame](), 0
    while at < len(body):
        step = cuts[len(found) % len(cuts)]
        found += reader.feed(body[at : at + step])
        at += step
    assert found == frames
    assert reader.complete


def test_what_is_no_frame_is_refused_and_half_a_frame_is_seen() -> None:
    with pytest.raises(Invalid):
        list(FrameReader().feed(b"\x09" + bytes(8)))
    with pytest.raises(Invalid):
        list(FrameReader().feed(b"\x00" + b"\xff" * 8))
    reader = FrameReader()
    assert not list(reader.feed(Frame("answer", b"{}").encode()[:-1]))
    assert not reader.complete
