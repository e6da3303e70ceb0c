"""What models there are for a caller, how they do, and where a request would go."""

import msgspec

from polyforge.gateway.explaining import Judgement, explain
from polyforge.gateway.lineup import Lineups
from polyforge.gateway.routing import EXPECTED_BYTES_PER_TOKEN, MOST_BYTES_PER_TOKEN, NO_WISH, Needs
from polyforge.gateway.settings import GatewaySettings
from polyforge.gateway.wishes import read_wish
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import ModelNotFound
from polyforge.kernel.usage import Usage
from polyforge.registry.catalog import Model
from polyforge.tenancy.callers import Caller


class ModelGuide:
    """Answers from what requests run on now."""

    def __init__(self, lineups: Lineups, settings: GatewaySettings, clock: Clock) -> None:
        self.lineups = lineups
        self._settings = settings
        self.clock = clock

    def listed(self, caller: Caller) -> list[Model]:
        """Every model that the caller may use, wildcards included."""
        return [model for model in self.lineups.current.catalog.listed(caller.project_id) if caller.may_use(model.name)]

    def find(self, caller: Caller, name: str) -> Model:
        """One of them, or what a wildcard stands for; ModelNotFound when it is absent or hidden."""
        if not caller.may_use(name):
            raise ModelNotFound(
                f"there is no model {name[:200]!r}; GET /v1/models lists those you may use", param="name"
            )
        return self.lineups.current.catalog.find(name, caller.project_id)

    def explain(self, caller: Caller, name: str, needs: Needs, route: str) -> tuple[Model, list[Judgement]]:
        """Where a request with these needs would go, with `route` in x-polyforge-route; errors as for one."""
        model, lineup = self.find(caller, name), self.lineups.current
        wish = read_wish(route, self._settings.route_overrides) if route else NO_WISH
        needs = msgspec.structs.replace(needs, wish=wish)
        return model, explain(model, needs, lineup.health, self.clock.now(), self._settings.attempts)


def needs_for(
    input_tokens: int, output_tokens: int, images: int, *, tools: bool, structured: bool, stream: bool
) -> Needs:
    """What a request of about so many tokens needs; its bytes are what tokens usually have."""
    least = input_tokens * EXPECTED_BYTES_PER_TOKEN // MOST_BYTES_PER_TOKEN
    expected = Usage(input=input_tokens, output=output_tokens)
    return Needs(0 if images else least, images > 0, tools, structured, stream, expected)
