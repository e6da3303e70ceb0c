"""Routes of usage and costs: of the caller's project, and of its whole organization."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from polyforge.kernel.clock import utc
from polyforge.kernel.errors import Invalid
from polyforge.kernel.money import Micros, to_usd
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.ledger_rows import HOUR_SECONDS
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import MAX_PAGE, Moment
from polyforge.tenancy.usage.exporting import MakeWriter, file_of
from polyforge.tenancy.usage.forecasting import LEAST_DAYS, Expected
from polyforge.tenancy.usage.questions import Question, filtered, parse_groups
from polyforge.tenancy.usage.schemas import (
    AmountForecast,
    CostGroup,
    CostReport,
    CostSums,
    ForecastView,
    UsageGroup,
    UsageReport,
    UsageSums,
)
from polyforge.tenancy.usage.service import MonthForecast, UsageService
from polyforge.tenancy.usage.store import MAX_USAGE_ROWS
from polyforge.tenancy.usage.sums import Label, UsageRow, UsageSummary, Used

_EPOCH: Final = date(1970, 1, 1)
_MOST_VALUES: Final = 50
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}}}
}
_EXPORT_GROUPS: Final = "day,project,key,user,end_user,model,provider,deployment,task,tag"

Groups = Annotated[
    str,
    Query(
        max_length=100,
        description="Any of project, key, user, end_user, model, provider, deployment, task and tag (or tag:name, for "
        "the values of one), and one of month, day and hour, with commas between.",
    ),
]
Format = Annotated[str, Query(max_length=20, description="`csv` or `parquet`.")]
ProjectReader = Annotated[Caller, Depends(Permission("usage:read"))]
OrganizationReader = Annotated[Caller, Depends(Permission("costs:read"))]


def _values(what: str) -> Any:
    return Query(max_length=_MOST_VALUES, description=f"Only calls {what}; may be repeated.")


def filters(
    project: Annotated[list[str], _values("in this project, by its id")] = [],  # noqa: B006  # FastAPI copies it
    key: Annotated[list[str], _values("with this key, by its id")] = [],  # noqa: B006
    user: Annotated[list[str], _values("with a key of this user, by the user's id")] = [],  # noqa: B006
    end_user: Annotated[list[str], _values("for this end user")] = [],  # noqa: B006
    model: Annotated[list[str], _values("of this model")] = [],  # noqa: B006
    provider: Annotated[list[str], _values("that this provider answered")] = [],  # noqa: B006
    deployment: Annotated[list[str], _values("that this model of a provider answered")] = [],  # noqa: B006
    task: Annotated[list[str], _values("of this task")] = [],  # noqa: B006
    tag: Annotated[list[str], _values("with this tag, as in `team=red`")] = [],  # noqa: B006
) -> Question:
    """Which calls a question is about."""
    given = {"project": project, "key": key, "user": user, "end_user": end_user, "model": model}
    return filtered(Question(), **given, provider=provider, deployment=deployment, task=task, tag=tag)


class Span(msgspec.Struct, frozen=True):
    """Of which calls, and over which time."""

    which: Question
    since: datetime | None
    until: datetime | None


class Page(Span, frozen=True):
    """The same, and which part of the groups."""

    limit: int
    start: int


def span(
    which: Annotated[Question, Depends(filters)],
    since: Annotated[Moment | None, Query(description="From this time on; default: 30 days before `until`.")] = None,
    until: Annotated[Moment | None, Query(description="Up to this time, without it; default: now.")] = None,
) -> Span:
    """Over which time."""
    return Span(which, since, until)


def page(
    span: Annotated[Span, Depends(span)],
    limit: Annotated[int, Query(ge=1, le=MAX_USAGE_ROWS)] = MAX_PAGE,
    cursor: Annotated[str | None, Query(max_length=5, pattern=r"^\d+$")] = None,
) -> Page:
    """Which part of the groups."""
    return Page(span.which, span.since, span.until, limit, int(cursor or 0))


Filters = Annotated[Question, Depends(filters)]
Spans = Annotated[Span, Depends(span)]
Pages = Annotated[Page, Depends(page)]


def router(usage: UsageService, make_writer: MakeWriter) -> APIRouter:
    """The routes under /api/v1/usage and /api/v1/costs, and under /api/v1/organization."""
    routes = APIRouter(prefix="/api/v1")
    answers = _Answers(usage, make_writer)
    _add_usage(routes, answers)
    _add_costs(routes, answers)
    return routes


class _Answers:
    """What the routes of a project and of an organization have in common."""

    def __init__(self, usage: UsageService, make_writer: MakeWriter) -> None:
        self._usage = usage
        self._make_writer = make_writer

    async def usage(self, caller: Caller, group_by: str, page: Page, *, whole: bool) -> UsageReport:
        question, summary = await self._summary(caller, group_by, page, whole)
        rows = [{**_fields(question, row, summary), **_used(row.used)} for row in summary.rows]
        return UsageReport(
            since=utc(summary.since),
            until=utc(summary.until),
            data=[UsageGroup.model_validate(row) for row in rows],
            totals=UsageSums.model_validate(_used(summary.totals)),
            next_cursor=_cursor(summary.following),
        )

    async def costs(self, caller: Caller, group_by: str, page: Page, *, whole: bool) -> CostReport:
        question, summary = await self._summary(caller, group_by, page, whole)
        rows = [{**_fields(question, row, summary), **_cost(row.used)} for row in summary.rows]
        return CostReport(
            since=utc(summary.since),
            until=utc(summary.until),
            data=[CostGroup.model_validate(row) for row in rows],
            totals=CostSums.model_validate(_cost(summary.totals)),
            next_cursor=_cursor(summary.following),
        )

    async def forecast(self, caller: Caller, which: Question, *, whole: bool) -> ForecastView:
        return _forecast(await self._usage.forecast(caller, which, whole=whole))

    async def export(
        self, caller: Caller, group_by: str, span: Span, format_: str, *, whole: bool
    ) -> StreamingResponse:
        question = _question(group_by, span.which)
        if question.tag is not None:
            raise Invalid("an export has all tags, not those of one name", param="group_by")
        rows = self._usage.export(caller, question, span.since, span.until, whole=whole)
        writer = await self._make_writer(format_)
        disposition = {"content-disposition": f'attachment; filename="usage.{writer.suffix}"'}
        return StreamingResponse(file_of(writer, question, rows), media_type=writer.media_type, headers=disposition)

    async def _summary(self, caller: Caller, group_by: str, page: Page, whole: bool) -> tuple[Question, UsageSummary]:
        question = _question(group_by, page.which)
        since, until = page.since, page.until
        summary = await self._usage.report(
            caller, question, since, until, limit=page.limit, start=page.start, whole=whole
        )
        return question, summary


def _add_usage(routes: APIRouter, answers: _Answers) -> None:
    @routes.get("/usage", tags=["usage"], response_model_exclude_unset=True)
    async def get_usage(caller: ProjectReader, page: Pages, group_by: Groups = "") -> UsageReport:
        """What the project's calls used, cost and were priced, in all and by group."""
        return await answers.usage(caller, group_by, page, whole=False)

    @routes.get("/organization/usage", tags=["usage"], response_model_exclude_unset=True)
    async def get_organization_usage(caller: OrganizationReader, page: Pages, group_by: Groups = "") -> UsageReport:
        """The same of all projects of the organization."""
        return await answers.usage(caller, group_by, page, whole=True)

    @routes.get("/usage/export", tags=["usage"], response_class=StreamingResponse, responses=_FILES)
    async def export_usage(
        caller: ProjectReader,
        span: Spans,
        group_by: Groups = _EXPORT_GROUPS,
        format: Format = "csv",  # noqa: A002
    ) -> StreamingResponse:
        """All sums by day or by hour as a file, over whole days; `tags` holds all tags of a call together."""
        return await answers.export(caller, group_by, span, format, whole=False)

    @routes.get("/organization/usage/export", tags=["usage"], response_class=StreamingResponse, responses=_FILES)
    async def export_organization_usage(
        caller: OrganizationReader,
        span: Spans,
        group_by: Groups = _EXPORT_GROUPS,
        format: Format = "csv",  # noqa: A002
    ) -> StreamingResponse:
        """The same of all projects of the organization."""
        return await answers.export(caller, group_by, span, format, whole=True)


def _add_costs(routes: APIRouter, answers: _Answers) -> None:
    @routes.get("/costs", tags=["costs"], response_model_exclude_unset=True)
    async def get_costs(caller: ProjectReader, page: Pages, group_by: Groups = "provider") -> CostReport:
        """What the project's calls cost and brought in, and what kept answers saved, in all and by group."""
        return await answers.costs(caller, group_by, page, whole=False)

    @routes.get("/organization/costs", tags=["costs"], response_model_exclude_unset=True)
    async def get_organization_costs(
        caller: OrganizationReader, page: Pages, group_by: Groups = "project"
    ) -> CostReport:
        """The same of all projects of the organization."""
        return await answers.costs(caller, group_by, page, whole=True)

    @routes.get("/costs/forecast", tags=["costs"])
    async def forecast_costs(caller: ProjectReader, which: Filters) -> ForecastView:
        """What the current month will come to, by the last 56 days, their weekdays and their trend."""
        return await answers.forecast(caller, which, whole=False)

    @routes.get("/organization/costs/forecast", tags=["costs"])
    async def forecast_organization_costs(caller: OrganizationReader, which: Filters) -> ForecastView:
        """The same of all projects of the organization."""
        return await answers.forecast(caller, which, whole=True)


def _question(group_by: str, which: Question) -> Question:
    asked = parse_groups(group_by)
    return Question(asked.groups, which.filters, asked.tag)


def _cursor(following: int | None) -> str | None:
    return None if following is None else str(following)


def _fields(question: Question, row: UsageRow, summary: UsageSummary) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, label in zip(question.groups, row.labels, strict=True):
        fields[name] = _shown(name, label)
        if name == "key":
            fields["key_name"] = summary.key_names.get(str(label))
        if name == "project":
            fields["project_name"] = summary.project_names.get(str(label))
    return fields


def _shown(name: str, label: Label) -> str | datetime:
    if not isinstance(label, int):
        return label
    if name == "hour":
        return datetime.fromtimestamp(label * HOUR_SECONDS, UTC)
    if name == "day":
        return (_EPOCH + timedelta(days=label)).isoformat()
    return f"{label // 12:04d}-{label % 12 + 1:02d}"


def _used(used: Used) -> dict[str, float]:
    return {
        "requests": used.requests,
        "errors": used.errors,
        "cached_requests": used.cached,
        "input_tokens": used.input_total,
        "cached_tokens": used.cache_read_tokens,
        "output_tokens": used.output_tokens,
        "total_tokens": used.input_total + used.output_tokens,
        "reasoning_tokens": used.reasoning_tokens,
        "images": used.images,
        "audio_seconds": used.milliseconds / 1000,
        "characters": used.characters,
        "mean_seconds": round(used.duration_ms / used.requests / 1000, 3) if used.requests else 0.0,
        "cost_usd": to_usd(used.cost_micros),
        "price_usd": to_usd(used.price_micros),
    }


def _cost(used: Used) -> dict[str, float]:
    return {
        "requests": used.requests,
        "cached_requests": used.cached,
        "cost_usd": to_usd(used.cost_micros),
        "price_usd": to_usd(used.price_micros),
        "margin_usd": to_usd(used.price_micros - used.cost_micros),
        "saved_usd": to_usd(used.saved_micros),
    }


def _forecast(forecast: MonthForecast) -> ForecastView:
    few = f"a forecast needs {LEAST_DAYS} complete days since the first call, and there are {forecast.days}"
    return ForecastView(
        month=utc(forecast.start).strftime("%Y-%m"),
        now=utc(forecast.now),
        until=utc(forecast.end),
        days=forecast.days,
        note=few if forecast.cost is None else None,
        cost_usd=_amount(forecast.so_far.cost_micros, forecast.cost),
        price_usd=_amount(forecast.so_far.price_micros, forecast.price),
    )


def _amount(so_far: Micros, expected: Expected | None) -> AmountForecast:
    mean, low, high = (None, None, None) if expected is None else (to_usd(round(each)) for each in expected)
    return AmountForecast(so_far=to_usd(so_far), expected=mean, low=low, high=high)
