"""OpenAI's audio: transcriptions, translations into English, speech. Bodies pass through.

Source: https://platform.openai.com/docs/api-reference/audio.
"""

import re
from typing import Final, Literal

import msgspec

from polyforge.dialects.audio_length import likely_milliseconds, longest_milliseconds
from polyforge.dialects.bodies import decode_body
from polyforge.dialects.multipart import read_form
from polyforge.dialects.openai_chat.facts import check_model_name
from polyforge.dialects.openai_media_usage import WireUsage, milliseconds_of, read_usage
from polyforge.kernel.errors import Invalid
from polyforge.kernel.tasks import InferenceRequest
from polyforge.kernel.usage import Usage

_PARTS_PER_SECOND: Final = 2
"""Of audio heard, each of which is taken to be 16 tokens: the models that count tokens hear some ten a second."""
_TOKENS_PER_SECOND: Final = 32
_MOST_TRANSCRIPT: Final = 16_384
_TOKENS_PER_CHARACTER: Final = 8
"""Of speech: the models speak some 1.5 for each Latin letter, and 4 for each ideograph."""
_USUAL_PER_CHARACTER: Final = 2
_BYTES_PER_TOKEN: Final = 4
_OVERHEAD_TOKENS: Final = 256
_CUE: Final = re.compile(rb"--> *(?:(\d{1,3}):)?(\d\d):(\d\d)[.,](\d{3})")
_CUE_BYTES: Final = 4096


class _Speech(msgspec.Struct, gc=False):
    model: str
    input: str


class _Transcript(msgspec.Struct, gc=False):
    text: str
    duration: float | str | None = None
    usage: WireUsage | None = None


_speech: Final = msgspec.json.Decoder(_Speech)
_transcript: Final = msgspec.json.Decoder(_Transcript)


def decode_transcription(body: bytes) -> InferenceRequest:
    """The request in POST /v1/audio/transcriptions; Invalid names the field that is wrong."""
    return _decode(body, None)


def decode_translation(body: bytes) -> InferenceRequest:
    """The request in POST /v1/audio/translations; Invalid names the field that is wrong."""
    return _decode(body, "translation")


def _decode(body: bytes, variant: Literal["translation"] | None) -> InferenceRequest:
    form = read_form(body)
    model = form.text("model")
    if not model:
        raise Invalid("model is missing", param="model")
    check_model_name(model)
    files = form.files("file")
    if len(files) != 1:
        raise Invalid("file must be there once: give the audio as a file", param="file")
    start, end = files[0].start, files[0].end
    longest, exact = longest_milliseconds(body, start, end)
    seconds = -(-longest // 1000)
    return InferenceRequest(
        task="transcription",
        dialect="openai",
        model=model,
        body=body,
        stream=form.text("stream") == "true",
        output_limit=min(_MOST_TRANSCRIPT, _OVERHEAD_TOKENS + seconds * _TOKENS_PER_SECOND),
        parts=1 + seconds * _PARTS_PER_SECOND,
        variant=variant,
        binary=end - start,
        units=Usage(milliseconds=longest, exact=exact),
    )


def decode_speech(body: bytes) -> InferenceRequest:
    """The request in POST /v1/audio/speech, whose answer always streams; Invalid names the field that is wrong."""
    wire = decode_body(_speech, body)
    check_model_name(wire.model)
    if not wire.input:
        raise Invalid("input must not be empty", param="input")
    return InferenceRequest(
        task="speech",
        dialect="openai",
        model=wire.model,
        body=body,
        stream=True,
        output_limit=_OVERHEAD_TOKENS + len(wire.input) * _TOKENS_PER_CHARACTER,
        parts=1,
        units=Usage(characters=len(wire.input)),
    )


def read_transcript(body: bytes, asked: Usage, *, json: bool) -> Usage:
    """What an answer says that it took: in its usage, its duration, or the last of its subtitles; else an estimate.

    `asked` are the units of the request. ValueError for JSON that is no transcript.
    """
    if not json:
        return _lasting(_last_cue(body), asked)
    wire = _transcript.decode(body)
    told = read_usage(wire.usage)
    return told or _lasting(milliseconds_of(_number(wire.duration)), asked)


def estimate_speech(asked: Usage) -> Usage:
    """What a text that was spoken comes to where the answer does not say it: characters, and tokens by estimate."""
    spoken = asked.characters * _USUAL_PER_CHARACTER
    return Usage(
        input=-(-asked.characters // _BYTES_PER_TOKEN),
        output=spoken,
        audio_output=spoken,
        characters=asked.characters,
        exact=False,
    )


def estimate_heard(asked: Usage) -> Usage:
    """What an audio that was heard comes to where the answer does not say it: its length, and tokens by estimate."""
    heard = asked.milliseconds if asked.exact else likely_milliseconds(asked.milliseconds)
    tokens = -(-heard // 1000) * _PARTS_PER_SECOND * 8
    return Usage(input=tokens, audio_input=tokens, milliseconds=heard, exact=False)


def _lasting(milliseconds: int | None, asked: Usage) -> Usage:
    return estimate_heard(asked) if milliseconds is None else Usage(milliseconds=milliseconds)


def _last_cue(body: bytes) -> int | None:
    """When the last subtitle of an SRT or WebVTT file ends."""
    cues = list(_CUE.finditer(body, max(0, len(body) - _CUE_BYTES)))
    if not cues:
        return None
    hours, minutes, seconds, milliseconds = (int(number or 0) for number in cues[-1].groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds


def _number(text: float | str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
