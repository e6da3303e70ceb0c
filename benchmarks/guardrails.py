"""`python -m benchmarks.guardrails`: what each guardrail costs for a text, and for each piece of a streamed answer.

Single-threaded CPU in the gateway, the best of many runs. Models that a guardrail asks answer at once here, so that
only its own work shows; `http` and `classifier` are left out, for they do nothing but call a server.
"""

import argparse
import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from benchmarks.privacy import PROSE, repeated, spin
from polyforge.adapters.guardrails import injection, length, moderation, pii, rule, schema, topics
from polyforge.guardrails.passing import Passing
from polyforge.guardrails.rules import Rule
from polyforge.kernel.chat import Finished, TextDelta
from polyforge.kernel.tasks import EmbeddingResult, Moderation
from polyforge.kernel.usage import NO_USAGE
from polyforge.ports.guardrail import About, Action, Passage

_DIMENSIONS: Final = 256
_EXAMPLES: Final = ("who will win the election", "which party should I vote for", "what do you think of the president")
_OBJECT: Final = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
_TEXT: Final = repeated(PROSE)
_JSON: Final = json.dumps({"summary": _TEXT})


class Cost(msgspec.Struct, frozen=True):
    """Seconds of CPU, for a text of 2,000 characters and for one piece of it when it comes word by word."""

    text: float
    piece: float


class AtOnce:
    """Models that answer without thinking."""

    async def embed(self, model: str, texts: Sequence[str]) -> EmbeddingResult:
        """The same vector for every text, which is like nothing."""
        data = b"\0" * (4 * _DIMENSIONS * len(texts))
        return EmbeddingResult(data, len(texts), _DIMENSIONS, NO_USAGE)

    async def moderate(self, model: str, texts: Sequence[str]) -> list[Moderation]:
        """Nothing is wrong with any of them."""
        return [Moderation({"violence": False, "hate": False}, {"violence": 0.01, "hate": 0.01}) for _ in texts]


_ABOUT: Final = About("id", "model", models=AtOnce())


def _rule(name: str, guardrail: Any, action: Action) -> Rule:
    return Rule(name, name, guardrail, frozenset({"input", "output"}), action)


def rules() -> dict[str, tuple[Rule | None, str]]:
    """Each guardrail by name, with the text that it judges; none of them finds anything that it refuses."""
    deny = topics.Settings(deny={"politics": _EXAMPLES})
    known: Mapping[str, tuple[Any, Action, str]] = {
        "pii, masking": (pii.PersonalData(pii.Settings(), "mask"), "mask", _TEXT),
        "pii, stand-ins": (pii.PersonalData(pii.Settings(), "pseudonyms"), "pseudonyms", _TEXT),
        "injection": (injection.Injection(injection.Settings(), "block"), "block", _TEXT),
        "length": (length.Length(length.Settings(most=10_000), "block"), "block", _TEXT),
        "schema": (schema.Schema(schema.Settings(json_schema=_OBJECT), "block"), "block", _JSON),
        "rule": (rule.CelRule(rule.Settings(when='text.contains("launch code")'), "block"), "block", _TEXT),
        "topics": (topics.TopicGuardrail(deny, "block"), "block", _TEXT),
        "moderation": (moderation.ModerationGuardrail(moderation.Settings(model="m"), "block"), "block", _TEXT),
    }
    each = {name: (_rule(name, guardrail, action), text) for name, (guardrail, action, text) in known.items()}
    return {"none": (None, _TEXT), **each}


async def _best(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    shortest = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        await work()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest


async def cost_of(found: Rule | None, text: str, rounds: int) -> Cost:
    """What one guardrail costs."""
    chosen = () if found is None else (found,)
    words = re.findall(r"\s*\S+", text)

    async def judge() -> None:
        await Passing(chosen, _ABOUT).check("input", [Passage(text)])

    async def stream() -> None:
        guard = Passing(chosen, _ABOUT).stream()
        for word in words:
            await guard.pass_on([TextDelta(word)], end=False)
        await guard.pass_on([Finished("stop")], end=True)

    return Cost(await _best(judge, rounds), await _best(stream, rounds) / len(words))


async def costs(rounds: int) -> dict[str, Cost]:
    """What each guardrail costs, by name."""
    return {name: await cost_of(found, text, rounds) for name, (found, text) in rules().items()}


def table(found: Mapping[str, Cost]) -> str:
    """The figures as a table in Markdown, in microseconds."""
    head = ["| guardrail | 2 kB of prose, µs | a word of a stream, µs |", "|---|---:|---:|"]
    return "\n".join(
        [*head, *(f"| {name} | {1e6 * cost.text:.0f} | {1e6 * cost.piece:.1f} |" for name, cost in found.items())]
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="runs of which the best counts")
    rounds: int = parser.parse_args().rounds
    print(table(asyncio.run(costs(rounds))))
    print(f"\nloop of 10 million turns: {spin():.2f} s")


if __name__ == "__main__":
    main()
