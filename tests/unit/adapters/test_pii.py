"""Kinds of an installation's own, and names that only a model can tell."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from polyforge.adapters.guardrails import pii
from polyforge.adapters.guardrails.pii import PersonalData, Settings
from polyforge.kernel.errors import GuardrailBlocked
from polyforge.ports.guardrail import About, Action, GuardrailSession, Passage
from polyforge.privacy.matches import Match

STAFF = {"staff_number": {"pattern": "EMP-[0-9]{6}"}}
TEXT = "Ask EMP-004711 or jane.doe@acme.co about it."


class Names:
    """Knows one name."""

    def recognise(self, texts: Sequence[str]) -> Sequence[Sequence[Match]]:
        found: list[list[Match]] = []
        for text in texts:
            place = text.find("Ada Lovelace")
            hit = [Match(place, place + 12, 0.9, "PERSON"), Match(place, place + 3, 0.2, "ada!")]
            found.append(hit if place >= 0 else [])
        return found


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("known-names", f"{__name__}:Names", pii.RECOGNISERS)

    def entry_points(group: str, name: str = entry.name) -> EntryPoints:
        return EntryPoints([each for each in (entry,) if (each.group, each.name) == (group, name)])

    monkeypatch.setattr(pii, "entry_points", entry_points)


def begin(action: Action = "mask", **settings: Any) -> GuardrailSession:
    return PersonalData(Settings(**settings), action).begin(About("id", "model", project_id="project"))


async def check(session: GuardrailSession, text: str) -> str:
    outcome = await session.check("input", [Passage(text)])
    return text if outcome.texts is None else outcome.texts[0]


async def test_a_kind_of_ones_own_is_hidden_beside_the_others() -> None:
    assert await check(begin(custom=STAFF), TEXT) == "Ask [STAFF_NUMBER] or [EMAIL] about it."
    assert await check(begin(custom=STAFF, kinds=[]), TEXT) == "Ask [STAFF_NUMBER] or jane.doe@acme.co about it."
    kept = begin(custom=STAFF, kinds=[], keep_last={"staff_number": 4})
    assert await check(kept, TEXT) == "Ask ***-**4711 or jane.doe@acme.co about it."


async def test_a_kind_of_ones_own_is_blocked_by_its_name() -> None:
    outcome = await begin("block", custom=STAFF, kinds=[]).check("input", [Passage(TEXT)])
    assert (outcome.blocked, outcome.kinds, outcome.count) == (True, ("staff_number",), 1)


async def test_a_kind_of_ones_own_has_stand_ins_that_are_put_back() -> None:
    session = begin("pseudonyms", custom=STAFF, kinds=[])
    shown = await check(session, TEXT)
    assert "EMP-004711" not in shown
    answer = await session.check("output", [Passage(shown, role="assistant")])
    assert answer.texts == [TEXT]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_nothing_of_a_kind_of_ones_own_leaves_in_a_stream(size: int) -> None:
    one = begin(custom=STAFF).filter("text")
    assert one is not None
    pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    assert "".join([one.feed(piece) for piece in pieces]) + one.finish() == "Ask [STAFF_NUMBER] or [EMAIL] about it."
    other = begin("block", custom=STAFF, kinds=[]).filter("text")
    assert other is not None
    with pytest.raises(GuardrailBlocked):
        print([other.feed(piece) for piece in pieces])


async def test_what_is_not_sure_enough_is_let_be() -> None:
    unsure = {"staff_number": {"pattern": "EMP-[0-9]{6}", "confidence": 0.4}}
    assert await check(begin(custom=unsure, kinds=[]), TEXT) == TEXT
    assert "[STAFF_NUMBER]" in await check(begin(custom=unsure, kinds=[], least_confidence=0.3), TEXT)


@pytest.mark.parametrize(
    "custom",
    [
        {"email": {"pattern": "x"}},
        {"Staff": {"pattern": "x"}},
        {"staff": {"pattern": "x*"}},
        {"staff": {"pattern": "(?=x)y"}},
        {"staff": {"pattern": "(x{1,50}){1,50}"}},
    ],
)
def test_a_kind_that_cannot_be_is_a_wrong_setting(custom: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(custom))):
        Settings(custom=custom)


@pytest.mark.usefixtures("_installed")
async def test_names_that_a_recogniser_finds_are_hidden() -> None:
    text = "Ada Lovelace wrote to jane.doe@acme.co. Nobody answered."
    masked = await check(begin(recogniser="known-names"), text)
    assert masked == "[PERSON] wrote to [EMAIL]. Nobody answered."
    low = begin("flag", recogniser="known-names", kinds=[], least_confidence=0.1)
    assert set((await low.check("input", [Passage(text)])).kinds) <= {"person", "name"}


@pytest.mark.usefixtures("_installed")
def test_a_recogniser_waits_for_the_whole_answer_but_stand_ins_do_not() -> None:
    assert begin(recogniser="known-names").filter("text") is None
    assert begin("pseudonyms", recogniser="known-names").filter("text") is not None


@pytest.mark.usefixtures("_installed")
def test_a_recogniser_that_is_not_installed_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match="there is no recogniser 'gone'; installed: known-names"):
        Settings(recogniser="gone")
