"""What callers and people say of answers, on behalf of a caller and within its project."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Integer, RowMapping, Select, case, cast, func

from polyforge.database.database import Database
from polyforge.database.scopes import Scope, ScopedReader, ScopedWriter
from polyforge.database.sessions import ReadSession, WriteSession
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotFound
from polyforge.kernel.ids import new_ulid
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.schemas import NewFeedback
from polyforge.tenancy.history.store import HistoryStore
from polyforge.tenancy.history.tables import request_feedback

MOST_MODELS = 1_000
_columns = request_feedback.c


class Feedback(msgspec.Struct, frozen=True):
    """What somebody said of one answer."""

    id: str
    request_id: str
    model: str
    provider: str
    deployment: str
    rating: int | None
    score: float | None
    comment: str
    labels: list[str]
    given_by: str
    created_at: float


class ModelFeedback(msgspec.Struct, frozen=True):
    """What was said of the answers of one deployment of a model."""

    model: str
    provider: str
    deployment: str
    good: int
    bad: int
    scored: int
    score: float | None
    """The mean of the scores."""


class FeedbackStore:
    """What was said in one project."""

    def __init__(self, session: ReadSession, scope: Scope) -> None:
        self._rows = ScopedReader(session, scope, request_feedback)

    async def page(self, limit: int, before: str | None, request_id: str | None) -> list[Feedback]:
        """Up to `limit`, newest first, older than the id `before`; all, or of one request."""

        def refine(query: Select[Any]) -> Select[Any]:
            query = query if before is None else query.where(_columns.id < before)
            query = query if request_id is None else query.where(_columns.request_id == request_id)
            return query.order_by(_columns.id.desc()).limit(limit)

        return [_feedback_of(row) for row in await self._rows.all(refine=refine)]

    async def by_model(self, since: float, until: float) -> list[ModelFeedback]:
        """Sums of what was said in [since, until), the best known first; MOST_MODELS at most."""
        groups = (_columns.model, _columns.provider, _columns.deployment)

        def refine(query: Select[Any]) -> Select[Any]:
            query = query.where(_columns.created_at >= since, _columns.created_at < until)
            return query.group_by(*groups).order_by(func.count().desc(), *groups).limit(MOST_MODELS)

        rows = await self._rows.all(
            *groups,
            _count(_columns.rating == 1).label("good"),
            _count(_columns.rating == -1).label("bad"),
            _count(_columns.score.is_not(None)).label("scored"),
            func.avg(_columns.score).label("score"),
            refine=refine,
        )
        return [ModelFeedback(**dict(row)) for row in rows]


class FeedbackEditor:
    """The same, to be changed."""

    def __init__(self, session: WriteSession, scope: Scope) -> None:
        self._rows = ScopedWriter(session, scope, request_feedback)

    async def put(self, feedback: Feedback) -> None:
        """Add it, in the place of what the same giver said of the same request before."""
        same = (_columns.request_id == feedback.request_id) & (_columns.given_by == feedback.given_by)
        await self._rows.delete(same)
        await self._rows.insert(msgspec.structs.asdict(feedback))


class FeedbackService:
    """Takes feedback from the key that asked, and from people of the project."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def give(self, caller: Caller, request_id: str, body: NewFeedback) -> Feedback:
        """Say something of an answer; NotFound without the request, or where another key asked."""
        scope = _scope(caller)
        async with self._database.write(scope) as session:
            asked = await HistoryStore(session, scope).get(request_id)
            if asked is None or (caller.kind != "user" and asked.key_id != caller.key_id):
                raise NotFound(f"there is no request {request_id[:40]!r} of yours, or not yet: it takes a second")
            feedback = Feedback(
                id=new_ulid(),
                request_id=asked.id,
                model=asked.model,
                provider=asked.provider,
                deployment=asked.deployment,
                rating=body.rating,
                score=body.score,
                comment=body.comment,
                labels=body.labels,
                given_by=caller.key_id,
                created_at=self._clock.now(),
            )
            await FeedbackEditor(session, scope).put(feedback)
        return feedback

    async def page(
        self, caller: Caller, limit: int, before: str | None, request_id: str | None = None
    ) -> tuple[Sequence[Feedback], str | None]:
        """Some of the project's, newest first, and where the next ones begin."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            found = await FeedbackStore(session, scope).page(limit + 1, before, request_id)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def by_model(self, caller: Caller, since: float, until: float | None) -> list[ModelFeedback]:
        """Sums of what was said of the project's answers, by model and by who answered."""
        scope = _scope(caller)
        async with self._database.read(scope) as session:
            return await FeedbackStore(session, scope).by_model(since, self._clock.now() if until is None else until)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    # PostgreSQL sums integers into bigint; nobody gives that much feedback.
    return cast(func.sum(case((condition, 1), else_=0)), Integer)


def _feedback_of(row: RowMapping) -> Feedback:
    return Feedback(**{name: row[name] for name in Feedback.__struct_fields__})


def _scope(caller: Caller) -> Scope:
    return Scope(caller.organization_id, caller.project_id)
