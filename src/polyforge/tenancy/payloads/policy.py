"""Whose payloads are kept. Pure."""

from typing import Final, get_args

from polyforge.kernel.errors import Denied, Invalid
from polyforge.tenancy.payloads.settings import Keeping, PayloadSettings

LOG_HEADER: Final = "x-polyforge-log"
_STRICTEST_FIRST: Final[tuple[Keeping, ...]] = get_args(Keeping)


class PayloadPolicy:
    """What the settings say of a request. `any` tells whether there is anything to ask at all."""

    def __init__(self, settings: PayloadSettings) -> None:
        self._settings = settings
        rules = {settings.keep, *settings.projects.values(), *settings.models.values()}
        self.any = rules != {"never"}

    def keeps(self, project_id: str, model: str, wish: str | None) -> bool:
        """Whether to keep the payload of a request; `wish` is what its x-polyforge-log says.

        Invalid for a wish that nobody can have, Denied for `none` where that is not to be had.
        """
        if wish not in (None, "payload", "none"):
            raise Invalid("must be `payload` or `none`", param=LOG_HEADER)
        rule = self._rule(project_id, model)
        if rule != "always":
            return rule == "asked" and wish == "payload"
        if wish == "none" and not self._settings.allow_none:
            raise Denied("what is asked here is always written down; leave the header out", param=LOG_HEADER)
        return wish != "none"

    def _rule(self, project_id: str, model: str) -> Keeping:
        found = (self._settings.projects.get(project_id), self._of_model(model))
        named: list[Keeping] = [rule for rule in found if rule is not None]
        return next(rule for rule in _STRICTEST_FIRST if rule in (named or (self._settings.keep,)))

    def _of_model(self, model: str) -> Keeping | None:
        """The rule that is named for a model, of several the one that names most of it."""
        models, parts = self._settings.models, model.split("/")
        wildcards = ("/".join([*parts[:count], "*"]) for count in range(len(parts) - 1, 0, -1))
        return next((models[name] for name in (model, *wildcards) if name in models), None)
