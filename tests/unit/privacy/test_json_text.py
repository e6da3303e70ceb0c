"""JSON stays JSON when values in it are replaced."""

import json

from hypothesis import given
from hypothesis import strategies as st

from polyforge.privacy.detector import Detector
from polyforge.privacy.json_text import InJson, read, written
from polyforge.privacy.masks import Mask, replace
from polyforge.privacy.matches import Match
from polyforge.privacy.streams import StreamFilter

ALL = Detector()
STYLE = Mask('"{kind}"\n')


def masked(text: str) -> str:
    style = InJson(STYLE)
    style.feed(text)
    return replace(text, ALL.detect(text), style)


def streamed(text: str, length: int) -> str:
    style = InJson(STYLE)
    stream, pieces = StreamFilter(ALL, style), list[str]()
    for start in range(0, len(text), length):
        style.feed(text[start : start + length])
        pieces.append(stream.feed(text[start : start + length]))
    return "".join(pieces) + stream.finish()


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.one_of(
            st.text(st.sampled_from('a\\"\n 1{}:,'), max_size=8),
            st.sampled_from(
                ["to\njane.doe@acme.co", 'x"jane.doe@acme.co"\\', 4111111111111111, 12, "4111 1111 1111 1111"]
            ),
        ),
        max_size=5,
    ),
    st.integers(1, 9),
    st.booleans(),
)
def test_json_stays_json_whatever_the_pieces(value: dict[str, str | int], length: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    safe = masked(text)
    assert list(json.loads(safe)) == list(value)
    assert "jane.doe" not in safe
    assert "1111" not in safe
    assert streamed(text, length) == safe


def test_a_number_becomes_a_string_and_words_are_escaped() -> None:
    assert json.loads(masked('{"a": 4111111111111111, "b": "to\\njane.doe@acme.co"}')) == {
        "a": '"CARD"\n',
        "b": 'to\n"EMAIL"\n',
    }


def test_replacements_see_what_is_meant_and_may_leave_it() -> None:
    seen: list[str] = []

    def note(_match: Match, value: str) -> str:
        seen.append(value)
        return value

    text = r'{"to": "john\u0040example.com"}'
    style = InJson(note)
    style.feed(text)
    assert replace(text, ALL.detect(text), style) == text
    assert seen == ["john@example.com"]


def test_values_are_written_and_read() -> None:
    assert written('a"\n') == r"a\"\n"
    assert read(r"a\"\u0040") == 'a"@'
    assert read('no " json') == 'no " json'
