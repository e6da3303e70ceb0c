"""A scripted provider as a server. The model that a request names says what it gets: a scenario, or a fault.

text            the scenario of that name, whole or streamed as the request asks
fail-rate       that failure
broken-text     a stream of the scenario that ends before its end
error-text      a stream of the scenario that turns into an error
spoiled-7-text  any of these with something wrong in its bytes, the number says what
"""

import asyncio
import random
from typing import Any

from tests.support.behaviours import Behaviour, Exchange
from tests.support.scripted.scenarios import SCENARIOS, Failure, Played, ScriptedProvider, Seen
from tests.support.scripted.spoiled import spoiled
from tests.support.scripted.vectors import vectors_answer
from tests.support.upstream import Received, Upstream

_PACE = 0.0


class ScriptedServer(Upstream):
    """Plays one provider."""

    def __init__(self, provider: ScriptedProvider) -> None:
        super().__init__()
        self.provider = provider
        self.seen: list[Seen] = []
        """What was asked, in order."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self.url.removesuffix("/v1")

    def settings(self) -> dict[str, Any]:
        """The provider's entry in polyforge.yaml."""
        return self.provider.settings(self.origin)

    def note(self, request: Received) -> Behaviour:
        """Write down what is asked; the answer follows from the model."""
        super().note(request)
        try:
            if (vectors := vectors_answer(request.path, request.json)) is not None:
                return Playing(vectors)
            self.seen.append(self.provider.read(request.path, request.json))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            # As the provider would: the tests that look at `seen` notice that nothing was.
            return Playing(self.provider.failure("invalid"))
        model = self.provider.model_of(request.path, request.json)
        return Playing(self._answer(model, stream=self.provider.is_stream(request.path, request.json)))

    def last(self) -> Seen:
        """What was asked last."""
        return self.seen[-1]

    def _answer(self, model: str, *, stream: bool) -> Played:
        kind, _, name = model.partition("-")
        if kind == "fail":
            failure: Failure = name  # pyright: ignore[reportAssignmentType]
            return self.provider.failure(failure)
        if kind == "broken":
            return self.provider.broken_stream(SCENARIOS[name])
        if kind == "error":
            return self.provider.error_in_stream(SCENARIOS[name])
        if kind == "spoiled":
            seed, _, what = name.partition("-")
            return spoiled(random.Random(int(seed)), self._answer(what, stream=stream))
        scenario = SCENARIOS.get(model)
        if scenario is None:
            return self.provider.failure("not_found")
        return self.provider.stream(scenario) if stream else self.provider.whole(scenario)


class Playing:
    """Sends what was played, each chunk as a chunk of its own."""

    def __init__(self, played: Played) -> None:
        self._played = played

    async def play(self, exchange: Exchange) -> None:
        """Answer."""
        played = self._played
        whole = len(played.chunks) == 1
        await exchange.head(played.status, played.headers, len(played.chunks[0]) if whole else None)
        for chunk in played.chunks:
            await exchange.body(chunk)
            await asyncio.sleep(_PACE)
        await exchange.end()
