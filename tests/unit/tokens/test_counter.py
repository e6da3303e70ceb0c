"""Counting tokens: known numbers, and bounds that hold."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from polyforge.dialects.openai_chat.requests import read_chat
from polyforge.kernel.chat import ChatRequest, Image, Message, Reasoning, Text, Tool, ToolCall, ToolResult
from polyforge.kernel.errors import Invalid, TooLarge, Unavailable
from polyforge.tokens.counter import MAX_CHARACTERS, TokenCounter
from polyforge.tokens.encodings import Encodings, slices
from polyforge.tokens.estimates import estimate
from polyforge.tokens.families import EncodingName, family_of

DATA = Path(__file__).parents[4] / "shared" / "data"
ENCODINGS = Encodings()
NAMES: tuple[EncodingName, ...] = ("o200k_base", "cl100k_base")

# The example of OpenAI's cookbook, "How to count tokens with tiktoken", with the numbers that its API answered.
COOKBOOK = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    (
        "user",
        None,
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]


@pytest.fixture
def counter() -> TokenCounter:
    return TokenCounter(ENCODINGS, {})


def _cookbook() -> ChatRequest:
    messages = [{"role": role, "content": text} | ({"name": name} if name else {}) for role, name, text in COOKBOOK]
    return read_chat(json.dumps({"model": "gpt-4o", "messages": messages}).encode())


@pytest.mark.parametrize(("model", "tokens"), [("gpt-3.5-turbo", 129), ("gpt-4", 129), ("gpt-4o", 124)])
async def test_counts_the_cookbooks_conversation_as_openai_does(counter: TokenCounter, model: str, tokens: int) -> None:
    counted = await counter.count_chat(_cookbook(), model)
    assert counted.exact
    assert counted.tokens == tokens


@pytest.mark.parametrize(
    ("text", "cl100k", "o200k"),
    [
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
        ("tiktoken is great!", 6, 6),
    ],
)
async def test_counts_the_cookbooks_texts(counter: TokenCounter, text: str, cl100k: int, o200k: int) -> None:
    assert (await counter.count_texts([text], "gpt-4")).tokens == cl100k
    assert (await counter.count_texts([text], "gpt-4o")).tokens == o200k


async def test_ids_are_the_encodings(counter: TokenCounter) -> None:
    assert await counter.encode("tiktoken is great!", "gpt-4") == [83, 1609, 5963, 374, 2294, 0]


async def test_what_looks_like_a_special_token_is_text(counter: TokenCounter) -> None:
    assert (await counter.count_texts(["<|endoftext|>"], "gpt-4o")).tokens == 7


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("openai/gpt-4.1-nano", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:us::id", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
    ],
)
def test_knows_openais_families(model: str, encoding: str) -> None:
    family = family_of(model)
    assert family is not None
    assert family.encoding == encoding


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro", "o3000", "mistral-large", "gpt-neo"])
def test_does_not_guess_others(model: str) -> None:
    assert family_of(model) is None


async def test_an_unknown_model_is_estimated_and_says_so(counter: TokenCounter) -> None:
    counted = await counter.count_chat(_cookbook(), "claude-sonnet-4-5")
    assert not counted.exact
    assert counted.tokenizer == "estimate"
    assert counted.low < 124 < counted.high
    assert 80 < counted.tokens < 200


async def test_ids_of_an_unknown_model_are_refused(counter: TokenCounter) -> None:
    with pytest.raises(Invalid, match="no tokenizer of 'claude' is at hand"):
        await counter.encode("x", "claude")


async def test_texts_have_a_size_limit(counter: TokenCounter) -> None:
    with pytest.raises(TooLarge):
        await counter.count_texts(["a" * MAX_CHARACTERS, "a"], "gpt-4o")


async def test_everything_else_in_a_prompt_is_between_bounds(counter: TokenCounter) -> None:
    schema = {"type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]}}}
    chat = ChatRequest(
        messages=[
            Message("user", [Text("Look"), Image(url="https://example.test/a.png")]),
            Message("assistant", [Reasoning("well"), ToolCall("1", "weather", "not json {")]),
            Message("tool", [ToolResult("1", [Text("sunny")])]),
        ],
        tools=[Tool("weather", "Tells it.", msgspec.Raw(json.dumps(schema).encode())), Tool("odd", None, None)],
    )
    for model in ("gpt-4o", "gemini-2.5-pro"):
        counted = await counter.count_chat(chat, model)
        assert not counted.exact
        assert counted.low < counted.tokens < counted.high


async def test_a_picture_of_low_detail_costs_its_base(counter: TokenCounter) -> None:
    chat = ChatRequest(messages=[Message("user", [Image(url="https://example.test/a.png", detail="low")])])
    counted = await counter.count_chat(chat, "gpt-4o")
    assert counted.exact
    assert counted.tokens == 3 + 4 + 85


async def test_a_tokenizer_json_counts_exactly(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.save(str(path))
    counter = TokenCounter(ENCODINGS, {"lab-*": path})
    counted = await counter.count_texts(["a b c"], "lab-1")
    assert counted.exact
    assert (counted.tokens, counted.tokenizer) == (3, "file")
    assert await counter.encode("a b c", "lab-1") == [1, 2, 0]


async def test_a_tokenizer_json_that_is_bad_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(Unavailable, match=r"tokenizer\.json"):
        await TokenCounter(ENCODINGS, {"lab": path}).count_texts(["a"], "lab")


@settings(max_examples=300)
@given(st.text(max_size=300))
def test_bounds_hold_on_any_text(text: str) -> None:
    bounds = estimate(text)
    for name in NAMES:
        assert bounds.low <= ENCODINGS.named(name).count(text) <= bounds.high
    assert bounds.low <= bounds.likely <= bounds.high


@settings(max_examples=200)
@given(st.text(alphabet=" \t\n/*'sStTa1é!=ſ", max_size=200))
def test_bounds_hold_where_pieces_are_odd(text: str) -> None:
    bounds = estimate(text)
    for name in NAMES:
        assert bounds.low <= ENCODINGS.named(name).count(text) <= bounds.high


@pytest.mark.parametrize(
    "path", ["rag/xquad.en.json", "rag/xquad.hi.json", "tabular/telco-churn.csv", "documents/test_blog.html"]
)
def test_bounds_hold_on_real_texts_and_the_estimate_is_near(path: str) -> None:
    if not (DATA / path).exists():
        pytest.skip(f"needs the texts of {DATA}, which lie outside of the repository")
    text = (DATA / path).read_text()
    bounds = estimate(text)
    for name in NAMES:
        true = ENCODINGS.named(name).count(text)
        assert bounds.low <= true <= bounds.high
        assert true / 2 < bounds.likely < true * 2


def test_slices_of_a_long_text_count_as_the_whole() -> None:
    text = "The quick brown fox's 12345 jumps,\n over  it. " * 4_000 + "a" * 100_000
    parts = list(slices(text))
    assert "".join(parts) == text
    assert len(parts) > 2
    for name in NAMES:
        encoding = ENCODINGS.named(name)
        assert encoding.encode(text) == encoding._encoding.encode(text)  # pyright: ignore[reportAttributeAccessIssue]
        assert encoding.count(text) == len(encoding.encode(text))


async def test_without_openais_encodings_there_is_an_estimate_that_says_so() -> None:
    encodings = Encodings()
    encodings.has_openais = False
    counted = await TokenCounter(encodings, {}).count_texts(["Hello, world, this is a text."], "gpt-4o")
    exact = await TokenCounter(Encodings(), {}).count_texts(["Hello, world, this is a text."], "gpt-4o")
    assert (counted.exact, counted.tokenizer, exact.exact) == (False, "estimate", True)
    assert counted.low <= exact.tokens <= counted.high
