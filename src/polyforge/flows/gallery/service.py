"""Templates on behalf of callers: looked at, and flows made of them."""

from collections.abc import Sequence

import msgspec

from polyforge.flows.gallery.filling import filled
from polyforge.flows.gallery.reading import templates
from polyforge.flows.gallery.records import Chosen, Template
from polyforge.flows.keeping.drafts import Drafts
from polyforge.flows.keeping.records import Committed, Draft
from polyforge.flows.keeping.service import FlowService
from polyforge.flows.problems import errors_in
from polyforge.kernel.errors import NotFound
from polyforge.tenancy.callers import Caller


class Made(msgspec.Struct, frozen=True):
    """A flow that was made of a template. `committed` is None where something keeps it from running here."""

    draft: Draft
    committed: Committed | None


class TemplateService:
    """The templates that come with this version."""

    def __init__(self, flows: FlowService, drafts: Drafts) -> None:
        self._flows = flows
        self._drafts = drafts

    def all(self) -> Sequence[Template]:
        """All of them, by name."""
        return list(templates().values())

    def get(self, name: str) -> Template:
        """One of them; NotFound otherwise."""
        found = templates().get(name)
        if found is None:
            raise NotFound(f"there is no template {name[:64]!r}; there are {', '.join(templates())}")
        return found

    async def use(self, caller: Caller, name: str, chosen: Chosen, slug: str | None, title: str | None) -> Made:
        """Make a flow of a template, and its first version; Invalid for a choice that it does not have."""
        template = self.get(name)
        document = filled(template, chosen)
        draft = await self._flows.create(caller, document=document, slug=slug, title=title)
        if errors_in(draft.problems):
            return Made(draft, None)
        message = f"From the template {template.name}"
        return Made(draft, await self._drafts.commit(caller, draft.flow.id, message, draft.row.revision))
