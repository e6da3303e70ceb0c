"""Models that are added over the API, on behalf of a caller."""

from typing import Any, Final

from polyforge.kernel.errors import Conflict, Invalid
from polyforge.operations.additions.keeping import Keeper, Shown
from polyforge.operations.additions.schemas import NewDeclaration
from polyforge.registry.settings import ModelSettings
from polyforge.tenancy.callers import Caller

_PACKAGED: Final = "polyforge/"


class AddedModels:
    """Shows declared models, and adds, changes and removes some."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def all(self) -> list[Shown]:
        """Every declared model, by name."""
        return await self._keeper.all("model")

    async def get(self, name: str) -> Shown:
        """One of them, the one of the file first; NotFound when there is none."""
        return await self._keeper.one("model", name)

    async def add(self, caller: Caller, body: NewDeclaration) -> Shown:
        """One more; Invalid names a field that cannot be, Conflict a name that is taken."""
        content = body.model_dump(mode="json", exclude_unset=True, exclude={"name"})
        return await self._put(caller, body.name, body, content, new=True)

    async def change(self, caller: Caller, name: str, body: ModelSettings) -> Shown:
        """Make it what `body` says, all of it; NotFound when it was not added."""
        content = body.model_dump(mode="json", exclude_unset=True)
        return await self._put(caller, name, body, content, new=False)

    async def remove(self, caller: Caller, name: str) -> None:
        """Take it away; requests that began on it end on it."""
        await self._keeper.remove(caller, "model", name)

    async def _put(
        self, caller: Caller, name: str, body: ModelSettings, content: dict[str, Any], *, new: bool
    ) -> Shown:
        if body.source is not None:
            raise Invalid(
                "models of our own host are declared in polyforge.yaml, or registered with POST /api/v1/models",
                param="source",
            )
        if name.startswith(_PACKAGED):
            raise Conflict(f"names that begin with {_PACKAGED!r} are the package's; choose another", param="name")
        await self._keeper.must_be_added("model", name)
        return self._keeper.shown(await self._keeper.put(caller, "model", name, content, new=new))
