"""What is heard in an audio goes through guardrails, as OpenAI's own client sees it."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from openai import APIError, BadRequestError, OpenAI

from tests.support.scripted.openai_media import TEXT, MediaUpstream
from tests.support.server import Key, Polyforge, stopping
from tests.wire.test_openai_media import wav

WORD = TEXT.split()[-1].strip(".")
HIDDEN = TEXT.replace(WORD, "[CODE_WORD]")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Polyforge]:
    media = MediaUpstream()
    media.start()
    kind = {"use": "pii", "kinds": [], "custom": {"code_word": {"pattern": WORD}}}
    models: dict[str, Any] = {
        action: {
            "task": "transcription",
            "deployments": [{"provider": "lab", "model": "plain"}],
            "price": {"per_call": 1.0},
            "guardrails": [action],
        }
        for action in ("mask", "block")
    }
    settings = {
        "providers": {"lab": {"use": "openai", "base_url": media.url}},
        "models": models,
        "guardrails": {action: {**kind, "action": action} for action in models},
    }
    with stopping(Polyforge(tmp_path_factory.mktemp("transcripts"), settings)) as server:
        yield server
    media.stop()


@pytest.fixture
def key(gateway: Polyforge) -> Key:
    return gateway.create_key()


@pytest.fixture
def client(gateway: Polyforge, key: Key) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key.key, max_retries=0) as client:
        yield client


def test_a_transcript_is_masked(client: OpenAI) -> None:
    assert client.audio.transcriptions.create(model="mask", file=("a.wav", wav())).text == HIDDEN


@pytest.mark.parametrize("form", ["text", "srt"])
def test_a_transcript_is_masked_in_every_format(client: OpenAI, form: Literal["text", "srt"]) -> None:
    said = client.audio.transcriptions.create(model="mask", file=("a.wav", wav()), response_format=form)
    assert WORD not in said
    assert form == "srt" or said == f"{HIDDEN}\n"


def test_a_streamed_transcript_is_masked(client: OpenAI) -> None:
    events = list(client.audio.transcriptions.create(model="mask", file=("a.wav", wav()), stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == HIDDEN
    assert [event.text for event in events if event.type == "transcript.text.done"] == [HIDDEN]


def test_a_transcript_is_blocked_and_paid_for(client: OpenAI, gateway: Polyforge, key: Key) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.audio.transcriptions.create(model="block", file=("a.wav", wav()))
    assert refused.value.code == "guardrail_blocked"
    (record,) = gateway.settled(key)
    assert (record["status"], record["price_micros"]) == ("error", 1_000_000)


def test_a_streamed_transcript_that_is_blocked_ends_with_an_error(client: OpenAI) -> None:
    said: list[Any] = []
    with pytest.raises(APIError) as refused:
        said += client.audio.transcriptions.create(model="block", file=("a.wav", wav()), stream=True)
    assert refused.value.code == "guardrail_blocked"
