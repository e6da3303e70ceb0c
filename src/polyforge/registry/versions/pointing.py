"""What aliases point at: moved at once, or once somebody else approves where the alias is protected."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import and_

from polyforge.database.sessions import WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict
from polyforge.kernel.ids import new_ulid
from polyforge.registry.versions.records import Action, Alias, ModelDeployment, RegisteredModel
from polyforge.registry.versions.store import ModelEditor
from polyforge.registry.versions.tables import model_aliases, model_deployments
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller

HISTORY: Final = 1_000
"""How far back a way back is looked for."""
MAX_ALIASES: Final = 100


def way_back(history: Sequence[ModelDeployment], gone: Iterable[int]) -> int | None:
    """The version that an alias pointed at before the present one, None when there is none left.

    `history` is what was done to the alias, newest first. A rollback undoes a promotion, so the next one goes further
    back, and not to what was just left. Versions in `gone` are passed over.
    """
    path: list[int] = []
    for each in reversed(history):
        if each.action == "removed" or each.version is None:
            path = []
        elif each.action == "promoted":
            path.append(each.version)
        else:
            while path and path[-1] != each.version:
                path.pop()
            path = path or [each.version]
    left = set(gone)
    present = path[-1] if path else None
    return next((version for version in reversed(path[:-1]) if version not in left and version != present), None)


class Pointing:
    """Moves aliases of one model in a transaction that holds the lock of models."""

    def __init__(
        self, session: WriteSession, editor: ModelEditor, clock: Clock, recorder: Recorder, caller: Caller
    ) -> None:
        self._session = session
        self._editor = editor
        self._clock = clock
        self._recorder = recorder
        self._caller = caller

    async def promote(self, model: RegisteredModel, version: int, alias: str, reason: str) -> ModelDeployment:
        """The change, or where the alias is protected the wish for it; Conflict when it points there already."""
        known = await self._editor.alias(model.id, alias)
        if known is not None and known.version == version:
            raise Conflict(f"{alias!r} of {model.name!r} points at version {version} already", param="version")
        if (
            known is None
            and await self._editor.count(model_aliases, model_aliases.c.model_id == model.id) >= MAX_ALIASES
        ):
            raise Conflict(f"{model.name!r} has {MAX_ALIASES} aliases, as many as there may be", param="alias")
        await self.supersede(model, alias)
        change = self._change(model, alias, version, known, "promoted", reason)
        if alias in model.protected:
            change = msgspec.structs.replace(change, state="waiting")
            await self._editor.add(model_deployments, change)
            await self._tell(model, "model.promotion_requested", change)
            return change
        await self._apply(model, change, "model.promoted")
        return change

    async def roll_back(self, model: RegisteredModel, version: int, alias: Alias, reason: str) -> ModelDeployment:
        """Point an alias back, which needs nobody's approval: it was there before."""
        change = self._change(model, alias.alias, version, alias, "rolled_back", reason)
        await self._apply(model, change, "model.rolled_back")
        return change

    async def decide(
        self, model: RegisteredModel, waiting: ModelDeployment, decision: str, *, approved: bool
    ) -> ModelDeployment:
        """Do what was wished for, or do not."""
        known = await self._editor.alias(model.id, waiting.alias)
        decided = msgspec.structs.replace(
            waiting,
            state="done" if approved else "rejected",
            previous=known.version if known else None,
            decided_by=self._caller.key_id,
            decided_at=self._clock.now(),
            decision=decision,
        )
        await self._editor.change(
            model_deployments, model_deployments.c.id == decided.id, msgspec.structs.asdict(decided)
        )
        if approved:
            await self._point(decided)
        await self._tell(model, "model.promotion_approved" if approved else "model.promotion_rejected", decided)
        return decided

    async def take_away(self, model: RegisteredModel, alias: Alias, reason: str) -> ModelDeployment:
        """Let an alias point nowhere."""
        change = self._change(model, alias.alias, None, alias, "removed", reason)
        await self.supersede(model, alias.alias)
        where = and_(model_aliases.c.model_id == model.id, model_aliases.c.alias == alias.alias)
        await self._editor.remove(model_aliases, where)
        await self._editor.add(model_deployments, change)
        await self._tell(model, "model.alias_removed", change)
        return change

    async def supersede(self, model: RegisteredModel, alias: str | None = None, version: int | None = None) -> None:
        """Wishes that nobody decided on, and that are out of date now."""
        columns = model_deployments.c
        where = and_(columns.model_id == model.id, columns.state == "waiting")
        where = where if alias is None else and_(where, columns.alias == alias)
        where = where if version is None else and_(where, columns.version == version)
        await self._editor.change(model_deployments, where, {"state": "superseded"})

    def _change(
        self, model: RegisteredModel, alias: str, version: int | None, known: Alias | None, action: Action, reason: str
    ) -> ModelDeployment:
        caller = self._caller
        return ModelDeployment(
            id=new_ulid(),
            organization_id=model.organization_id,
            project_id=model.project_id,
            model_id=model.id,
            alias=alias,
            version=version,
            previous=known.version if known else None,
            action=action,
            state="done",
            reason=reason,
            requested_by=caller.key_id,
            requested_user=caller.user_id or "",
            requested_at=self._clock.now(),
        )

    async def _apply(self, model: RegisteredModel, change: ModelDeployment, action: str) -> None:
        await self._editor.add(model_deployments, change)
        await self._point(change)
        await self._tell(model, action, change)

    async def _point(self, change: ModelDeployment) -> None:
        assert change.version is not None, "what is taken away points nowhere"
        await self._editor.point(
            Alias(
                model_id=change.model_id,
                alias=change.alias,
                organization_id=change.organization_id,
                project_id=change.project_id,
                version=change.version,
                deployment_id=change.id,
                changed_at=self._clock.now(),
                changed_by=self._caller.key_id,
            )
        )

    async def _tell(self, model: RegisteredModel, action: str, change: ModelDeployment) -> None:
        subject = Subject("model", model.id, model.organization_id, model.project_id)
        before = {"model": model.name, "alias": change.alias, "version": change.previous}
        after = {
            "model": model.name,
            "alias": change.alias,
            "version": change.version,
            "reason": change.reason,
            "deployment": change.id,
            "requested_by": change.requested_by,
        }
        await self._recorder.changed(self._session, self._caller, "models", action, subject, before, after)
