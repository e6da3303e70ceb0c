"""Questions that look alike to an embedding model: which may share an answer; measured with the one in the package."""

import numpy as np
import pytest

from polyforge.adapters.model_backends.static_embedding import Settings, StaticEmbedding
from polyforge.gateway.caching.agreement import agree, facts_of, speaks
from polyforge.kernel.errors import PolyforgeError
from polyforge.kernel.tensors import Tensor, pack_strings
from polyforge.ports.model_backend import ModelRequest
from polyforge.serving.sources import BUILT_IN_FOLDER

THRESHOLD = 0.95

DIFFERENT = [
    ("Is it safe to mix bleach and vinegar?", "Is it not safe to mix bleach and vinegar?"),
    ("Is this mushroom safe to eat?", "Is this mushroom unsafe to eat?"),
    ("Which drugs may I take with ibuprofen?", "Which drugs may I not take with ibuprofen?"),
    ("Can I give aspirin to my dog?", "Can I give aspirin to my cat?"),
    ("Can I give aspirin to my dog?", "Can't I give aspirin to my dog?"),
    ("What was our revenue in 2023?", "What was our revenue in 2024?"),
    ("What is 15% of 240?", "What is 240% of 15?"),
    ("How many calories are in 100 g of rice?", "How many calories are in 200 g of rice?"),
    ("Convert 5 miles to kilometers", "Convert 5 kilometers to miles"),
    ("Convert 100 dollars to euros", "Convert 100 euros to dollars"),
    ("What is the capital of Austria?", "What is the capital of Australia?"),
    ("What is the weather in Paris today?", "What is the weather in London today?"),
    ("What is the weather in Paris today?", "What is the weather in Paris tomorrow?"),
    ("Who wrote Hamlet?", "Who wrote Macbeth?"),
    ("When was Ada Lovelace born?", "Where was Ada Lovelace born?"),
    ("When did Ada Lovelace die?", "When did Ada Byron die?"),
    ("How do I enable two-factor authentication?", "How do I disable two-factor authentication?"),
    ("How do I open the valve?", "How do I close the valve?"),
    ("What happens before the surgery?", "What happens after the surgery?"),
    ("What is the maximum dose for adults?", "What is the minimum dose for adults?"),
    ("What is the maximum dose for adults?", "What is the maximum dose for children?"),
    ("How do I reverse a list in Python?", "How do I reverse a list in Java?"),
    ("How do I sort a list in ascending order?", "How do I sort a list in descending order?"),
    ("Does the contract include VAT?", "Does the contract exclude VAT?"),
    ("Can the dog bite the man?", "Can the man bite the dog?"),
    ("Should the buyer pay the seller?", "Should the seller pay the buyer?"),
    ("What does `a < b` return?", "What does `a > b` return?"),
    ("What is 7 + 3?", "What is 7 - 3?"),
    ('How do you say "thank you" in Japanese?', 'How do you say "good night" in Japanese?'),
    ("Summarise https://example.com/report-1 for me", "Summarise https://example.com/report-2 for me"),
    ("Write to ann@example.com that we agree", "Write to bob@example.com that we agree"),
    ("What are the advantages of nuclear power?", "What are the disadvantages of nuclear power?"),
    ("Flights from Berlin to Madrid", "Flights from Madrid to Berlin"),
    ("Why does my code work on Linux?", "Why does my code not work on Linux?"),
    ("What is the file size limit in MB?", "What is the file size limit in GB?"),
    ("Is my password stored encrypted?", "Is your password stored encrypted?"),
    ("What does get_user return?", "What does set_user return?"),
    ("Is the store open on Monday?", "Is the store open on Sunday?"),
    ("What is the first step of the recipe?", "What is the last step of the recipe?"),
    ("What should I do without insurance?", "What should I do with insurance?"),
]
SAME = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("How do I reset my password?", "How do I reset my password"),
    ("What is the capital of France?", "What's the capital of France?"),
    ("What is the capital of France?", "Please tell me: what is the capital of France?"),
    ("Explain recursion with an example.", "Explain recursion with the example"),
    ("how do i reverse a linked list in python?", "How do I reverse a linked list in Python?"),
    ("Can you list the symptoms of influenza?", "Could you list the symptoms of influenza?"),
    ("What are the opening hours of the museum?", "What are the opening hours of a museum?"),
    ("How does photosynthesis work?", "How does the photosynthesis work?"),
    ("Describe the water cycle", "Describe the water cycle."),
]
HINDI = [
    ("भारत की राजधानी क्या है?", "चावल कैसे पकाते हैं?"),
    ("मेरा पासवर्ड कैसे बदलें?", "आज मौसम कैसा है?"),
    ("यह दवा सुरक्षित है?", "यह दवा सुरक्षित नहीं है?"),
]


@pytest.fixture(scope="module")
def model() -> StaticEmbedding:
    backend = StaticEmbedding(Settings(folder=BUILT_IN_FOLDER))
    backend.load()
    return backend


def cosine(model: StaticEmbedding, one: str, other: str) -> float:
    tensor = Tensor("text", "BYTES", (2,), pack_strings(text.encode() for text in (one, other)))
    (answer,) = model.run([ModelRequest({"text": tensor}, {})])
    assert not isinstance(answer, PolyforgeError)
    vectors = np.frombuffer(bytes(answer[0].data), "<f4").reshape(answer[0].shape)
    mine, others = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return float(mine @ others)


def are_one(model: StaticEmbedding, one: str, other: str) -> bool:
    """Whether the second would get the answer of the first."""
    known = speaks(one, "english") and speaks(other, "english")
    return known and cosine(model, one, other) >= THRESHOLD and agree(facts_of(one), facts_of(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_questions_with_different_answers_share_none(model: StaticEmbedding, one: str, other: str) -> None:
    assert not agree(facts_of(one), facts_of(other))
    assert not agree(facts_of(other), facts_of(one))
    assert not are_one(model, one, other)


def test_the_model_alone_would_have_mixed_many_of_them_up(model: StaticEmbedding) -> None:
    """Why words are compared at all."""
    alike = [pair for pair in DIFFERENT if cosine(model, *pair) >= THRESHOLD]
    assert len(alike) >= 10
    assert all(cosine(model, *pair) >= 0.8 for pair in HINDI)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_questions_that_mean_the_same_agree(one: str, other: str) -> None:
    assert agree(facts_of(one), facts_of(other))
    assert agree(facts_of(other), facts_of(one))


def test_most_of_those_are_found(model: StaticEmbedding) -> None:
    assert sum(are_one(model, one, other) for one, other in SAME) >= 7


@pytest.mark.parametrize(("one", "other"), HINDI)
def test_what_the_model_was_not_made_for_is_not_looked_up(model: StaticEmbedding, one: str, other: str) -> None:
    assert not speaks(one, "english")
    assert not speaks(one, "latin")
    assert speaks(one, "any")
    assert not are_one(model, one, other)


@pytest.mark.parametrize(
    ("text", "english", "latin"),
    [
        ("How do I reset my password?", True, True),
        ("Wie setze ich mein Kennwort zurück?", False, True),
        ("Wie heisst die Hauptstadt", False, True),
        ("¿Cuál es la capital de Francia?", False, True),
        ("Как сбросить пароль?", False, False),
        ("パスワードを忘れました", False, False),
        ("What is the meaning of मेरा?", False, False),
        ("12345", False, False),
        ("", False, False),
    ],
)
def test_languages_are_told_by_script_and_by_common_words(text: str, english: bool, latin: bool) -> None:
    assert speaks(text, "english") is english
    assert speaks(text, "latin") is latin


def test_a_long_question_is_read_in_time_that_grows_with_its_length() -> None:
    for text in ("a" * 20_000, "'" * 20_000, "`" * 20_000, "<" * 20_000, "a.b" * 6_000, "x@" * 10_000, "n't " * 5_000):
        assert agree(facts_of(text), facts_of(text))
