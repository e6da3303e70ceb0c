"""Routes of the history of requests."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from msgspec.structs import asdict

from polyforge.database.texts import storable
from polyforge.kernel.clock import utc
from polyforge.kernel.money import MICROS_PER_USD, to_usd
from polyforge.telemetry.hops import HOPS
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.history.feedback import Feedback, FeedbackService, ModelFeedback
from polyforge.tenancy.history.records import Entry, Which, read_place
from polyforge.tenancy.history.schemas import (
    FeedbackPage,
    FeedbackReport,
    FeedbackView,
    FoundView,
    HopView,
    ModelFeedbackView,
    NewFeedback,
    RequestPage,
    RequestSummary,
    RequestView,
    TriedView,
)
from polyforge.tenancy.history.service import HistoryService
from polyforge.tenancy.ledger.details import Details
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_BUDGET_USD, MAX_PAGE, Moment

_MOST_VALUES: Final = 50
_MOST_SAID: Final = 100
_MOST_MS: Final = 10_000_000_000
Reader = Annotated[Caller, Depends(Permission("usage:read"))]
Giver = Annotated[Caller, Depends(Permission("inference"))]
Status = Literal["ok", "error", "cancelled", "interrupted", "refused"]


def _values(what: str) -> Any:
    return Query(max_length=_MOST_VALUES, description=f"Only requests {what}; may be repeated.")


def which(
    key: Annotated[list[str], _values("with this key, by its id")] = [],  # noqa: B006  # FastAPI copies it
    user: Annotated[list[str], _values("with a key of this user, by the user's id")] = [],  # noqa: B006
    end_user: Annotated[list[str], _values("for this end user")] = [],  # noqa: B006
    model: Annotated[list[str], _values("for this model")] = [],  # noqa: B006
    provider: Annotated[list[str], _values("that this provider answered")] = [],  # noqa: B006
    status: Annotated[list[Status], _values("that ended so")] = [],  # noqa: B006
    error: Annotated[list[str], _values("that ended with this error, by its code")] = [],  # noqa: B006
    error_text: Annotated[
        str, Query(max_length=100, description="Only requests with an error whose code holds this text.")
    ] = "",
    tag: Annotated[list[str], _values("with this tag, as in `team=red`, and every other that is named")] = [],  # noqa: B006
    since: Annotated[Moment | None, Query(description="From this time on.")] = None,
    until: Annotated[Moment | None, Query(description="Up to this time, without it.")] = None,
    min_duration_ms: Annotated[
        int | None, Query(ge=0, le=_MOST_MS, description="That took this long at least.")
    ] = None,
    min_price_usd: Annotated[
        float | None, Query(ge=0, le=MAX_BUDGET_USD, description="That were priced this much at least.")
    ] = None,
) -> Which:
    """Which requests are asked for."""
    return Which(
        key=_stored(key),
        user=_stored(user),
        end_user=_stored(end_user),
        model=_stored(model),
        provider=_stored(provider),
        status=_stored(status),
        error=_stored(error),
        error_text="".join(_stored([error_text.lower()])),
        tag=_stored(tag),
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
        min_duration_ms=min_duration_ms,
        min_price=None if min_price_usd is None else round(min_price_usd * MICROS_PER_USD),
    )


def _stored(values: Sequence[str]) -> tuple[str, ...]:
    """As the ledger has them."""
    return tuple(storable(value) for value in values)


def router(history: HistoryService, feedback: FeedbackService) -> APIRouter:
    """The routes under /api/v1/requests."""
    routes = APIRouter(prefix="/api/v1/requests", tags=["requests"])

    @routes.get("")
    async def list_requests(
        caller: Reader,
        which: Annotated[Which, Depends(which)],
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(max_length=60)] = None,
    ) -> RequestPage:
        """The project's requests, newest first."""
        found, following = await history.page(caller, which, limit, cursor)
        place = read_place(following)
        return RequestPage(
            data=[RequestSummary(**_summary(entry)) for entry in found],
            next_cursor=following,
            searched_until=None if place is None else utc(place.started_at),
        )

    _add_feedback(routes, feedback)

    @routes.get("/{request_id}")
    async def show_request(caller: Reader, request_id: str) -> RequestView:
        """One request with its hops and attempts, and what was said of its answer."""
        found = await history.get(caller, request_id)
        said, _ = await feedback.page(caller, _MOST_SAID, None, request_id)
        return _view(found, said)

    return routes


def _add_feedback(routes: APIRouter, feedback: FeedbackService) -> None:
    @routes.get("/feedback")
    async def list_feedback(
        caller: Reader,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        cursor: Annotated[str | None, Query(pattern=r"^[0-9A-Z]{26}$")] = None,
    ) -> FeedbackPage:
        """What was said of the project's answers, newest first."""
        found, following = await feedback.page(caller, limit, cursor)
        return FeedbackPage(data=[_said(each) for each in found], next_cursor=following)

    @routes.get("/feedback/models")
    async def sum_feedback(
        caller: Reader,
        since: Annotated[Moment | None, Query(description="What was said from this time on.")] = None,
        until: Annotated[Moment | None, Query(description="Up to this time, without it; default: now.")] = None,
    ) -> FeedbackReport:
        """What was said of the project's answers, summed by model and by who answered."""
        begin, end = 0.0 if since is None else since.timestamp(), None if until is None else until.timestamp()
        sums = await feedback.by_model(caller, begin, end)
        return FeedbackReport(data=[_sum(each) for each in sums])

    @routes.post("/{request_id}/feedback", status_code=201)
    async def give_feedback(caller: Giver, request_id: str, body: NewFeedback) -> FeedbackView:
        """Say how good an answer was: the key that asked for it, or people of the project. The last word counts."""
        return _said(await feedback.give(caller, request_id, body))


def _summary(entry: Entry) -> dict[str, Any]:
    usage, details = entry.usage, entry.details
    return {
        "id": entry.id,
        "started_at": utc(entry.started_at),
        "duration_ms": entry.duration_ms,
        "first_token_ms": details.first_token_ms,
        "key": entry.key_id,
        "user": entry.user_id or None,
        "end_user": entry.end_user or None,
        "path": details.path or None,
        "task": entry.task,
        "model": entry.model,
        "provider": entry.provider or None,
        "deployment": entry.deployment or None,
        "stream": entry.stream,
        "status": entry.status,
        "http_status": entry.http_status,
        "error": entry.error or None,
        "tags": entry.tags.split(",") if entry.tags else [],
        "cached": entry.cached or None,
        "input_tokens": usage.input_total,
        "cached_tokens": usage.cache_read,
        "output_tokens": usage.output,
        "cost_usd": to_usd(entry.cost),
        "price_usd": to_usd(entry.price),
        "attempts": len(details.tried),
    }


def _said(feedback: Feedback) -> FeedbackView:
    fields: dict[str, Any] = {**asdict(feedback), "created_at": utc(feedback.created_at)}
    return FeedbackView.model_validate({**fields, **_answerer(feedback)})


def _sum(sums: ModelFeedback) -> ModelFeedbackView:
    return ModelFeedbackView.model_validate({**asdict(sums), **_answerer(sums)})


def _answerer(said: Feedback | ModelFeedback) -> dict[str, str | None]:
    return {"provider": said.provider or None, "deployment": said.deployment or None}


def _view(entry: Entry, said: Sequence[Feedback]) -> RequestView:
    usage, details = entry.usage, entry.details
    return RequestView(
        **_summary(entry),
        cache_write_tokens=usage.cache_write,
        reasoning_tokens=usage.reasoning,
        images=usage.images,
        audio_seconds=usage.milliseconds / 1000,
        characters=usage.characters,
        estimated=not usage.exact,
        saved_usd=to_usd(entry.saved),
        hops=_hops(details),
        upstream_ms=details.waited // 1000 / 1000,
        tried=_tried(details),
        guardrails=[
            FoundView(
                guardrail=each.guardrail, stage=each.stage, action=each.action, kinds=[*each.kinds], count=each.count
            )
            for each in details.found
        ],
        dropped=[*details.dropped],
        route=details.wish or None,
        trace_id=details.trace_id.hex() or None,
        feedback=[_said(each) for each in said],
    )


def _hops(details: Details) -> list[HopView]:
    # A request that ended early has fewer hops than there are.
    named = zip(HOPS, details.hops_us, strict=False)
    return [HopView(name=name, microseconds=spent) for name, spent in named]


def _tried(details: Details) -> list[TriedView]:
    views: list[TriedView] = []
    for provider, deployment, started, ended, outcome in details.tried:
        after = details.milliseconds(started)
        took = round(details.milliseconds(ended) - after, 3) if ended else None
        views.append(
            TriedView(provider=provider, deployment=deployment, after_ms=after, duration_ms=took, outcome=outcome)
        )
    return views
