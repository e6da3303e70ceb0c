"""Images, audio and moderations through OpenAI's own client: passed through, metered, and failing as they should."""

import base64
import io
import wave
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.scripted.openai_media import PNG, SOUND, SRT, TEXT, MediaUpstream, form_of
from tests.support.server import Key, Polyforge, stopping

SECONDS = 2
TASKS = ("image_generation", "transcription", "speech", "moderation")
SHORT: dict[str, str] = {"image_generation": "image", "transcription": "hear", "speech": "say", "moderation": "judge"}


def wav(seconds: int = SECONDS) -> bytes:
    """Silence at 8 kHz, 16 bits, mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000 * seconds)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def media() -> Iterator[MediaUpstream]:
    server = MediaUpstream()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(media: MediaUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    """`hear/whisper` is the upstream's whisper, as a model that transcribes."""
    names = ("plain", "cut", "html", "refuse", "fail", "huge", "empty", "untold", "broken", "whisper")
    price = {"input": 1, "output": 2, "per_image": 0.04, "per_second": 0.0001, "per_character": 0.00003}
    models: dict[str, Any] = {
        f"{SHORT[task]}/{name}": {"task": task, "deployments": [{"provider": "lab", "model": name}], "price": price}
        for task in TASKS
        for name in names
    }
    models["image/spare"] = {
        "task": "image_generation",
        "price": price,
        "deployments": [
            {"provider": "lab", "model": "fail"},
            {"provider": "lab", "model": "plain", "priority": 1},
        ],
    }
    settings = {
        "providers": {"lab": {"use": "openai", "base_url": media.url, "max_response_bytes": 4 * 1024 * 1024}},
        "models": models,
        "gateway": {"attempts": 2, "cooldown_seconds": 0, "max_body_bytes": 8 * 1024 * 1024},
    }
    with stopping(Polyforge(tmp_path_factory.mktemp("media"), settings)) as server:
        yield server


@pytest.fixture
def key(gateway: Polyforge) -> Key:
    return gateway.create_key()


@pytest.fixture
def client(gateway: Polyforge, key: Key) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key.key, max_retries=0) as client:
        yield client


Record = Callable[[], dict[str, Any]]


@pytest.fixture
def record(gateway: Polyforge, key: Key) -> Record:
    """The one usage record of the test's key."""
    return lambda: gateway.settled(key)[0]


# --- images ---


def test_images_are_made_and_counted(client: OpenAI, media: MediaUpstream, record: Record) -> None:
    answer = client.images.generate(model="image/plain", prompt="A red dot.", n=2, size="1024x1024")
    assert [base64.b64decode(image.b64_json or "") for image in answer.data or ()] == [PNG, PNG]
    sent = media.last()
    assert sent.path == "/v1/images/generations"
    assert sent.json == {"model": "plain", "prompt": "A red dot.", "n": 2, "size": "1024x1024"}
    used = record()
    assert (used["input_tokens"], used["output_tokens"]) == (50, 1056)
    assert used["price_micros"] == 50 + 2 * 1056 + 80_000


def test_images_without_usage_cost_by_their_number(client: OpenAI, record: Record) -> None:
    client.images.generate(model="image/untold", prompt="x", n=3)
    assert record()["price_micros"] == 120_000


def test_images_stream(client: OpenAI, record: Record) -> None:
    events = list(client.images.generate(model="image/plain", prompt="x", stream=True, partial_images=1))
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert record()["price_micros"] == 50 + 2 * 1056 + 40_000


def test_an_image_is_edited(client: OpenAI, media: MediaUpstream, record: Record) -> None:
    files: list[Any] = [("a.png", PNG), ("b.png", PNG + b"\r\n--not the boundary\r\n")]
    answer = client.images.edit(model="image/plain", image=files, mask=("m.png", PNG), prompt="Grüner, bitte.")
    assert len(answer.data or ()) == 1
    sent = media.last()
    assert sent.path == "/v1/images/edits"
    fields = form_of(sent)
    assert fields["model"] == [b"plain"]
    assert fields["prompt"] == ["Grüner, bitte.".encode()]
    assert fields["image[]"] == [PNG, PNG + b"\r\n--not the boundary\r\n"]
    assert fields["mask"] == [PNG]
    assert record()["output_tokens"] == 1056


def test_another_deployment_makes_the_image_when_the_first_cannot(client: OpenAI, record: Record) -> None:
    assert client.images.generate(model="image/spare", prompt="x").data
    assert record()["model"] == "image/spare"


# --- transcriptions ---


@pytest.mark.parametrize("format_", ["json", "verbose_json", "text", "srt"])
def test_audio_is_transcribed_in_every_format(
    client: OpenAI, media: MediaUpstream, record: Record, format_: Any
) -> None:
    sound = wav()
    heard: Any = client.audio.transcriptions.create(
        model="hear/plain", file=("a.wav", sound), response_format=format_, language="de"
    )
    sent = media.last()
    fields = form_of(sent)
    assert sent.path == "/v1/audio/transcriptions"
    assert (fields["model"], fields["file"], fields["language"]) == ([b"plain"], [sound], [b"de"])
    text = heard if isinstance(heard, str) else heard.text
    assert text.strip() == (SRT.strip() if format_ == "srt" else TEXT)
    price = record()["price_micros"]
    by_seconds = {"verbose_json": 847, "srt": 6250}
    if format_ == "json":
        assert price == 14 + 2 * 45
    elif format_ in by_seconds:
        assert price == by_seconds[format_]
    else:
        assert 200 <= price <= 300, "an estimate from the length of the file"


def test_a_transcript_that_says_its_seconds_costs_them(client: OpenAI, record: Record) -> None:
    client.audio.transcriptions.create(model="hear/whisper", file=("a.wav", wav()))
    assert record()["price_micros"] == 900


def test_a_transcript_streams(client: OpenAI, record: Record) -> None:
    events = list(client.audio.transcriptions.create(model="hear/plain", file=("a.wav", wav()), stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == TEXT
    assert events[-1].type == "transcript.text.done"
    assert record()["price_micros"] == 14 + 2 * 45


def test_a_model_that_does_not_stream_answers_whole(gateway: Polyforge, key: Key, record: Record) -> None:
    body = form({"model": b"hear/whisper", "stream": b"true"}, file=wav())
    answer = gateway.call("/v1/audio/transcriptions", key=key.key, body=body)
    assert (answer.status, answer.headers["content-type"], answer.complete) == (200, "application/json", True)
    assert answer.json["text"] == TEXT
    assert record()["price_micros"] == 900


def test_audio_is_translated(gateway: Polyforge, key: Key, media: MediaUpstream) -> None:
    body = form({"model": b"hear/plain"}, file=wav())
    assert gateway.call("/v1/audio/translations", key=key.key, body=body).json["text"] == "English."
    assert media.last().path == "/v1/audio/translations"


# --- speech ---


def test_speech_passes_as_bytes(client: OpenAI, media: MediaUpstream, record: Record) -> None:
    answer = client.audio.speech.create(model="say/plain", voice="alloy", input="Grüße!")
    assert answer.content == SOUND
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert media.last().json == {"model": "plain", "voice": "alloy", "input": "Grüße!"}
    assert record()["price_micros"] == 2 + 2 * 12 + 6 * 30


def test_speech_streams_as_bytes(client: OpenAI) -> None:
    made = client.audio.speech.with_streaming_response.create(model="say/plain", voice="alloy", input="x")
    with made as answer:
        assert b"".join(answer.iter_bytes()) == SOUND


def test_speech_streams_as_events(gateway: Polyforge, key: Key, record: Record) -> None:
    body = {"model": "say/plain", "voice": "alloy", "input": "Hello", "stream_format": "sse"}
    answer = gateway.call("/v1/audio/speech", key=key.key, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"speech.audio.done" in answer.body
    assert record()["price_micros"] == 6 + 2 * 90 + 5 * 30


# --- moderations ---


def test_texts_are_moderated(client: OpenAI, media: MediaUpstream) -> None:
    answer = client.moderations.create(model="judge/plain", input=["kill the process", "hello"])
    assert answer.results[0].flagged
    assert media.last().json == {"model": "plain", "input": ["kill the process", "hello"]}


def test_a_moderation_without_a_model_asks_for_the_usual_one(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="omni-moderation-latest"):
        client.moderations.create(input="x")


# --- what goes wrong ---


def form(fields: dict[str, bytes], *, file: bytes | None = None, boundary: bytes = b"xyz") -> bytes:
    """A form by hand."""
    parts = [b'Content-Disposition: form-data; name="%b"\r\n\r\n%b' % (n.encode(), v) for n, v in fields.items()]
    if file is not None:
        parts.append(b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + file)
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


ASKS: dict[str, Callable[[OpenAI, str], object]] = {
    "image": lambda client, name: client.images.generate(model=f"image/{name}", prompt="x"),
    "edit": lambda client, name: client.images.edit(model=f"image/{name}", image=("a.png", PNG), prompt="x"),
    "hear": lambda client, name: client.audio.transcriptions.create(model=f"hear/{name}", file=("a.wav", wav())),
    "say": lambda client, name: client.audio.speech.create(model=f"say/{name}", voice="alloy", input="x").content,
    "judge": lambda client, name: client.moderations.create(model=f"judge/{name}", input="x"),
}


@pytest.mark.parametrize("fault", ["html", "fail"])
@pytest.mark.parametrize("what", ASKS)
def test_a_broken_upstream_is_a_502(client: OpenAI, what: str, fault: str) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ASKS[what](client, fault)
    assert caught.value.status_code == 502


@pytest.mark.parametrize("what", [what for what in ASKS if what != "say"])
def test_an_answer_that_is_cut_off_is_a_502(client: OpenAI, what: str) -> None:
    with pytest.raises(openai.InternalServerError):
        ASKS[what](client, "cut")


def test_sound_that_is_cut_off_does_not_end_clean(gateway: Polyforge, key: Key, record: Record) -> None:
    body = {"model": "say/cut", "voice": "alloy", "input": "Hello"}
    answer = gateway.call("/v1/audio/speech", key=key.key, json=body)
    assert (answer.status, answer.complete) == (200, False)
    assert SOUND.startswith(answer.body)
    used = record()
    assert used["status"] == "error"
    assert used["price_micros"] > 0


def test_no_sound_at_all_is_a_502(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        ASKS["say"](client, "empty")


def test_an_answer_that_is_too_large_is_a_502(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="larger than"):
        ASKS["image"](client, "huge")


def test_events_without_their_last_are_an_error(client: OpenAI) -> None:
    with pytest.raises(openai.APIError):
        list(client.images.generate(model="image/broken", prompt="x", stream=True))
    with pytest.raises(openai.APIError):
        list(client.audio.transcriptions.create(model="hear/broken", file=("a.wav", wav()), stream=True))


@pytest.mark.parametrize("what", ASKS)
def test_what_the_upstream_refuses_is_told(client: OpenAI, what: str) -> None:
    with pytest.raises(openai.BadRequestError, match="scripted invalid") as caught:
        ASKS[what](client, "refuse")
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("what", ASKS)
def test_a_model_for_something_else_is_refused(client: OpenAI, what: str) -> None:
    other = "say" if what != "say" else "judge"
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        ASKS[what](client, f"../{other}/plain")
    assert caught.value.param == "model"


WRONG_FORMS = {
    "json": b'{"model":"hear/plain"}',
    "empty": b"",
    "no model": form({}, file=wav()),
    "two models": form({"model": b"hear/plain"}, file=b"")[:-9] + form({"model": b"hear/whisper"}),
    "no file": form({"model": b"hear/plain"}),
    "a file as text": form({"model": b"hear/plain", "file": b"x"}),
    "cut off": form({"model": b"hear/plain"}, file=wav())[:-20],
    "no name": b"--xyz\r\nContent-Type: text/plain\r\n\r\nx\r\n--xyz--\r\n",
    "no headers": b"--xyz\r\nx\r\n--xyz--\r\n",
    "no boundary": b"--\r\n\r\n",
    "not utf-8": form({"model": b"\xff"}, file=wav()),
    "long model": form({"model": b"x" * 300}, file=wav()),
    "two names": form({"model": b"hear/plain"}).replace(b'name="model"', b'name="model"; name="x"'),
}


@pytest.mark.parametrize("wrong", WRONG_FORMS)
def test_a_wrong_form_is_a_400(gateway: Polyforge, key: Key, media: MediaUpstream, wrong: str) -> None:
    before = len(media.requests())
    answer = gateway.call("/v1/audio/transcriptions", key=key.key, body=WRONG_FORMS[wrong])
    assert answer.status == 400, answer.body
    assert answer.json["error"]["message"]
    assert len(media.requests()) == before


def test_a_form_that_is_too_large_is_a_413(gateway: Polyforge, key: Key) -> None:
    body = form({"model": b"hear/plain"}, file=bytes(9 * 1024 * 1024))
    assert gateway.call("/v1/audio/transcriptions", key=key.key, body=body).status == 413


def test_a_budget_holds_for_images(gateway: Polyforge) -> None:
    key = gateway.create_key(budget_usd=0.1)
    body = {"model": "image/untold", "prompt": "x", "n": 3}
    answer = gateway.call("/v1/images/generations", key=key.key, json=body)
    assert (answer.status, answer.json["error"]["code"]) == (429, "insufficient_quota")
