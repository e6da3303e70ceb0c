"""Forms with files, the length of audio, and what answers say that they used."""

import contextlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyforge.dialects import openai_audio, openai_images, openai_moderations
from polyforge.dialects.audio_length import likely_milliseconds, longest_milliseconds
from polyforge.dialects.multipart import is_form, read_form
from polyforge.kernel.errors import Invalid
from polyforge.kernel.usage import Usage

MEBIBYTE = 1024 * 1024


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"b0undary") -> bytes:
    """A form of (disposition, content)."""
    written = [b"Content-Disposition: form-data; %b\r\n\r\n%b\r\n" % part for part in parts]
    return b"".join(b"--%b\r\n%b" % (boundary, part) for part in written) + b"--%b--\r\n" % boundary


FILE = (b'name="file"; filename="a.wav"', b"RIFF")
MODEL = (b'name="model"', b"whisper-1")


@given(st.binary(max_size=300).filter(lambda content: b"\r\n--b0undary" not in b"\r\n" + content))
def test_a_file_stays_as_it_is_when_the_model_changes(content: bytes) -> None:
    body = form((b'name="file"; filename="x"', content), MODEL, (b'name="language"', b"de"))
    sent = read_form(read_form(body).with_text("model", "ein-größeres"))
    (file,) = sent.files("file")
    assert sent.body[file.start : file.end] == content
    assert (sent.text("model"), sent.text("language")) == ("ein-größeres", "de")


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_form_or_refused(body: bytes) -> None:
    for attempt in (body, b"--x\r\n" + body, form((body.replace(b"\r\n", b""), b"x"))):
        with contextlib.suppress(Invalid):
            assert read_form(attempt).parts


def test_a_model_that_is_the_same_copies_nothing() -> None:
    body = form(MODEL, FILE)
    assert read_form(body).with_text("model", "whisper-1") is body


@pytest.mark.parametrize(
    "disposition",
    [
        b"name=model",
        b'name="model"',
        b'NAME="model"',
        b' name = "model"'.replace(b" = ", b"="),
    ],
)
def test_names_are_read_with_and_without_quotes(disposition: bytes) -> None:
    assert read_form(form((disposition, b"m"))).text("model") == "m"


@pytest.mark.parametrize(
    "disposition",
    [
        b'name="a"; name="model"',
        b"name=\"a\"; name*=utf-8''model",
        b'name="mo\\del"',
        b'name=""',
        b'filename="x"',
        b'name="a" model',
        b"",
    ],
)
def test_names_that_others_could_read_otherwise_are_refused(disposition: bytes) -> None:
    with pytest.raises(Invalid):
        read_form(form((disposition, b"m")))


def test_a_field_that_is_coded_once_more_is_refused() -> None:
    coded = (b'name="model"\r\nContent-Transfer-Encoding: base64', b"bW9kZWw=")
    with pytest.raises(Invalid) as refused:
        read_form(form(coded)).text("model")
    assert refused.value.param == "model"


def test_boundaries_with_odd_characters_are_quoted() -> None:
    assert read_form(form(MODEL, boundary=b"a?b")).content_type == 'multipart/form-data; boundary="a?b"'
    assert read_form(form(MODEL)).content_type == "multipart/form-data; boundary=b0undary"
    assert is_form(form(MODEL))
    assert not is_form(b'{"a":1}')


def test_the_least_rate_bounds_audio_that_does_not_tell_its_length() -> None:
    longest, exact = longest_milliseconds(bytes(MEBIBYTE), 0, MEBIBYTE)
    assert not exact
    assert longest >= MEBIBYTE * 8 / 6_000 * 1000
    assert 0 < likely_milliseconds(longest) < longest


@pytest.mark.parametrize("junk", [b"RIFF", b"RIFF" + bytes(32), b"RIFF\0\0\0\0WAVEfmt " + bytes(20)])
def test_a_wav_that_is_none_is_bounded_like_other_audio(junk: bytes) -> None:
    assert longest_milliseconds(junk, 0, len(junk)) == (-(-len(junk) * 1000 // 750), False)


ASKED = Usage(milliseconds=10_000, exact=False)


@pytest.mark.parametrize(
    ("body", "json", "used"),
    [
        (b'{"text":"x","usage":{"type":"duration","seconds":2.5}}', True, Usage(milliseconds=2500)),
        (b'{"text":"x","duration":"1.2345"}', True, Usage(milliseconds=1235)),
        (b"1\n00:00:01,000 --> 01:00:02,500\nx\n", False, Usage(milliseconds=3_602_500)),
        (b"WEBVTT\n\n00:01.000 --> 00:02.500\nx\n", False, Usage(milliseconds=2500)),
        (
            b'{"text":"","usage":{"input_tokens":9,"output_tokens":2,"input_token_details":{"audio_tokens":99}}}',
            True,
            Usage(input=9, output=2, audio_input=9),
        ),
    ],
)
def test_what_a_transcript_used_is_read(body: bytes, json: bool, used: Usage) -> None:
    assert openai_audio.read_transcript(body, ASKED, json=json) == used


@pytest.mark.parametrize("body", [b'{"text":"x","usage":{"seconds":-1}}', b'{"text":"x","duration":1e300}'])
def test_nonsense_of_a_transcript_is_estimated(body: bytes) -> None:
    used = openai_audio.read_transcript(body, ASKED, json=True)
    assert not used.exact
    assert 0 < used.milliseconds <= ASKED.milliseconds


@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b'{"text":1}', b'{"data":null}'])
@pytest.mark.parametrize(
    "read",
    [
        lambda body: openai_audio.read_transcript(body, ASKED, json=True),
        openai_images.read_reply,
        openai_moderations.check_reply,
    ],
    ids=["transcript", "images", "moderation"],
)
def test_answers_that_are_none_are_told(read: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"m"}', "prompt"),
        (b'{"prompt":"x"}', "model"),
        (b'{"model":"m","prompt":"x","n":0}', "n"),
        (b'{"model":"m","prompt":"x","n":11}', "n"),
        (b'{"model":"m m","prompt":"x"}', "model"),
        (b'{"model":"m","prompt":"x","n":"2"}', "n"),
    ],
)
def test_wrong_fields_of_images_are_named(body: bytes, param: str) -> None:
    with pytest.raises(Invalid) as refused:
        openai_images.decode_generation(body)
    assert refused.value.param == param


def test_an_edit_wants_an_image_as_file_or_by_reference() -> None:
    by_reference = openai_images.decode_edit(b'{"model":"m","prompt":"x","images":[{"file_id":"f"}]}')
    assert (by_reference.variant, by_reference.images, by_reference.binary) == ("edit", 1, 0)
    for body in (b'{"model":"m","prompt":"x"}', form((b'name="model"', b"m"), (b'name="prompt"', b"x"))):
        with pytest.raises(Invalid) as refused:
            openai_images.decode_edit(body)
        assert refused.value.param == "image"


def test_bounds_do_not_take_files_for_text() -> None:
    request = openai_audio.decode_transcription(form(MODEL, (FILE[0], bytes(MEBIBYTE))))
    assert request.binary == MEBIBYTE
    assert request.units.milliseconds == -(-MEBIBYTE * 1000 // 750)
    speech = openai_audio.decode_speech('{"model":"m","voice":"v","input":"Grüße"}'.encode())
    assert (speech.units.characters, speech.stream) == (5, True)
