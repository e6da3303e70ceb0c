"""Personal data and secrets in texts, found by their forms and checksums, hidden or refused."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from polyforge.kernel.errors import GuardrailBlocked, Invalid
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage, TextFilter
from polyforge.ports.secret_source import SecretSource
from polyforge.privacy import json_text
from polyforge.privacy.custom import CustomKind
from polyforge.privacy.detector import LEAST, Detector
from polyforge.privacy.kinds import expand
from polyforge.privacy.masks import DEFAULT_TEMPLATE, Mask, Replacement, replace
from polyforge.privacy.matches import CERTAIN, Match
from polyforge.privacy.page import Walker
from polyforge.privacy.phones import DEFAULT_REGIONS
from polyforge.privacy.pseudonyms import Pseudonyms, Restorer
from polyforge.privacy.recognisers import Recognised, Recogniser
from polyforge.privacy.streams import StreamFilter

_LONG: Final = 8_000
"""Characters from which on a text is judged beside the event loop."""
RECOGNISERS: Final = "polyforge.recognisers"
"""The group of entry points under which packages offer what makes a recogniser."""
_KIND: Final = re.compile("[a-z][a-z0-9_]{0,39}")
"""What a recogniser may call a find: callers are told of it, so it must not be able to say what was found."""


class KindSettings(BaseModel):
    """A kind of an installation's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(
        description="A regular expression as RE2 reads it, without anchors; its matches have at most 1,024 characters."
    )
    confidence: float = Field(default=CERTAIN, ge=0, le=1, description="How sure such a find is.")


class Settings(BaseModel):
    """What to look for, and what stands there instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: tuple[str, ...] | None = Field(
        default=None, description="Kinds or groups of kinds, as in docs/how-to/guardrails.md; default: all."
    )
    custom: dict[str, KindSettings] = Field(
        default_factory=dict, max_length=100, description="Kinds of your own by name, looked for beside the others."
    )
    recogniser: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="What finds names and places: an entry point `polyforge.recognisers` of a package that is"
        " installed. Answers are then held to their end, unless they only get true values back.",
    )
    regions: tuple[str, ...] = Field(
        default=DEFAULT_REGIONS, description="Where telephone numbers without `+` may come from (ISO 3166)."
    )
    least_confidence: float = Field(default=LEAST, ge=0, le=1, description="Finds that are less sure are let be.")
    template: str = Field(
        default=DEFAULT_TEMPLATE, max_length=100, description="Stands for a find; `{kind}` is its kind in capitals."
    )
    keep_last: dict[str, int] = Field(
        default_factory=dict, description="For a kind, how many of its last letters and digits stay, as in `card: 4`."
    )

    @field_validator("kinds")
    @classmethod
    def _exist(cls, kinds: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            expand(kinds)
        except Invalid as error:
            raise ValueError(error.message) from error
        return kinds

    @field_validator("custom")
    @classmethod
    def _can_be(cls, custom: dict[str, KindSettings]) -> dict[str, KindSettings]:
        for name, kind in custom.items():
            try:
                CustomKind(name, kind.pattern)
            except Invalid as error:
                raise ValueError(f"{name[:64]}: {error.message}") from error
        return custom

    @field_validator("recogniser")
    @classmethod
    def _is_installed(cls, name: str | None) -> str | None:
        if name is not None and name not in (known := sorted(each.name for each in entry_points(group=RECOGNISERS))):
            raise ValueError(f"there is no recogniser {name!r}; installed: {', '.join(known) or 'none'}")
        return name


class PersonalData:
    """Hides, refuses or notes what a detector finds. Stand-ins are the same for a value as long as this lives."""

    def __init__(self, settings: Settings, action: Action) -> None:
        self._action: Action = action
        self._recognises = settings.recogniser is not None
        self._detector = Detector(
            settings.kinds, walkers=_walkers(settings), regions=settings.regions, least=settings.least_confidence
        )
        self._mask = Mask(settings.template, settings.keep_last)
        self._key = os.urandom(32)

    async def open(self, secrets: SecretSource) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    def begin(self, about: About) -> "PersonalDataSession":
        """A session; projects share no stand-ins."""
        pseudonyms = Pseudonyms(self._key + about.project_id.encode()) if self._action == "pseudonyms" else None
        replacement = pseudonyms or self._mask
        return PersonalDataSession(self._detector, self._action, replacement, recognises=self._recognises)


class PersonalDataSession:
    """One call; puts back in the answer what it hid in the request behind stand-ins."""

    def __init__(
        self, detector: Detector, action: Action, replacement: Mask | Pseudonyms, *, recognises: bool = False
    ) -> None:
        self._recognises = recognises
        """Whether a model looks too, which takes long."""
        self._detector = detector
        self._action: Action = action
        self._replacement = replacement

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Look at the texts, in a thread where that takes long."""
        long = self._recognises or sum(len(passage.text) for passage in passages) > _LONG
        return await asyncio.to_thread(self._judge, stage, passages) if long else self._judge(stage, passages)

    def filter(self, part: Part) -> TextFilter | None:
        """The same for a text that comes in pieces; a model would hold all other calls up at each of them."""
        if isinstance(self._replacement, Pseudonyms):
            return _Restoring(self._replacement.restorer(_write(part)))
        return None if self._recognises else _Filtering(self._detector, self._action, self._replacement, part)

    def _judge(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        replacement = self._replacement
        if isinstance(replacement, Pseudonyms):
            if stage == "output":
                return Outcome(texts=[replacement.restore(passage.text, _write(passage.part)) for passage in passages])
            replacement.avoid(*[passage.text for passage in passages])
        found = [self._detector.detect(passage.text) for passage in passages]
        counts = Counter(match.kind for matches in found for match in matches)
        if not counts:
            return Outcome()
        texts: list[str] | None = None
        if self._action in ("mask", "pseudonyms"):
            pairs = zip(passages, found, strict=True)
            texts = [_replaced(passage, matches, replacement) for passage, matches in pairs]
        return Outcome(tuple(sorted(counts)), counts.total(), self._action == "block", texts)


class _Checked:
    """What a recogniser is sure enough of, under names that callers may be told."""

    def __init__(self, recogniser: Recogniser, least: float) -> None:
        self._recogniser = recogniser
        self._least = least

    def recognise(self, texts: Sequence[str]) -> Sequence[Sequence[Match]]:
        """For each text its finds; ValueError where they are not as many as the texts."""
        found = self._recogniser.recognise(texts)
        if len(found) != len(texts):
            raise ValueError("the recogniser judged another number of texts")
        return [[_named(find) for find in finds if find.confidence >= self._least] for finds in found]


def _named(find: Match) -> Match:
    kind = find.kind.lower()
    return msgspec.structs.replace(find, kind=kind if _KIND.fullmatch(kind) else "name")


def _walkers(settings: Settings) -> list[Walker]:
    least = settings.least_confidence
    walkers: list[Walker] = [
        CustomKind(name, kind.pattern, confidence=kind.confidence)
        for name, kind in settings.custom.items()
        if kind.confidence >= least
    ]
    if settings.recogniser is not None:
        (entry,) = entry_points(group=RECOGNISERS, name=settings.recogniser)
        make: Callable[[], Any] = entry.load()
        walkers.append(Recognised(_Checked(make(), least)))
    return walkers


def _write(part: Part) -> Callable[[str], str]:
    return json_text.written if part == "arguments" else str


def _replaced(passage: Passage, matches: Sequence[Match], replacement: Replacement) -> str:
    if passage.part != "arguments" or not matches:
        return replace(passage.text, matches, replacement)
    in_json = json_text.InJson(replacement)
    in_json.feed(passage.text)
    return replace(passage.text, matches, in_json)


class _Filtering:
    """Masks, refuses or counts what a stream says."""

    def __init__(self, detector: Detector, action: Action, mask: Replacement, part: Part) -> None:
        self._counts: Counter[str] = Counter()
        self._action: Action = action
        self._mask = mask
        self._json = json_text.InJson(self._replace) if part == "arguments" else None
        self._filter = StreamFilter(detector, self._json or self._replace)

    def feed(self, text: str) -> str:
        """Let through what cannot be part of a find any more."""
        if self._json is not None:
            self._json.feed(text)
        return self._filter.feed(text)

    def finish(self) -> str:
        """The rest."""
        return self._filter.finish()

    def outcome(self) -> Outcome:
        """What was found so far."""
        return Outcome(tuple(sorted(self._counts)), self._counts.total())

    def _replace(self, match: Match, value: str) -> str:
        self._counts[match.kind] += 1
        if self._action == "block":
            raise GuardrailBlocked("the answer holds what must not be said")
        return self._mask(match, value) if self._action == "mask" else value


class _Restoring:
    """Puts back what was hidden in the request."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer

    def feed(self, text: str) -> str:
        """Let through what cannot be the beginning of a stand-in any more."""
        return self._restorer.feed(text)

    def finish(self) -> str:
        """The rest."""
        return self._restorer.finish()

    def outcome(self) -> Outcome:
        """To put back is no find."""
        return Outcome()


ADAPTER = PersonalData
