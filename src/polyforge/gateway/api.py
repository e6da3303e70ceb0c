"""Routes of models: which there are, how they do, and where a request would go."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query

from polyforge.gateway.comparing import Comparing, Comparison
from polyforge.gateway.explaining import Judgement
from polyforge.gateway.guide import ModelGuide, needs_for
from polyforge.gateway.health import Health
from polyforge.gateway.hosting.schemas import HostedState
from polyforge.gateway.hosting.service import HostedService, Standing
from polyforge.gateway.schemas import (
    AttemptView,
    CandidateView,
    ComparisonView,
    DeploymentView,
    Explanation,
    HealthView,
    JudgementView,
    ModelList,
    ModelView,
    PriceView,
    RatesView,
    TierView,
)
from polyforge.kernel.money import to_usd
from polyforge.registry.catalog import LOCAL, Deployment, Model
from polyforge.registry.settings import Hardware, Strategy
from polyforge.registry.tariffs import SpecialRates, Tariff
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission
from polyforge.tenancy.schemas import Moment

Reader = Annotated[Caller, Depends(Permission("models:read"))]
UsageReader = Annotated[Caller, Depends(Permission("usage:read"))]
Names = Annotated[str, Query(max_length=2_000, description="With commas between.")]
Tokens = Annotated[int, Query(ge=0, le=100_000_000)]
_COSTS = "usage:read"
_PLAIN = SpecialRates()
_AT_HOST: Final[dict[HostedState, Literal["ready", "loading"]]] = {"READY": "ready", "LOADING": "loading"}
_PICOS = 1_000_000_000_000
_MILLISECONDS = 1000


def router(guide: ModelGuide, hosted: HostedService) -> APIRouter:
    """The routes under /api/v1/models."""
    routes = APIRouter(prefix="/api/v1/models", tags=["models"])

    @routes.get("")
    async def list_models(caller: Reader) -> ModelList:
        """Every model that the caller may use, with its deployments, their prices and how they do."""
        standing = await hosted.standing()
        return ModelList(data=[_model(model, guide, standing, caller) for model in guide.listed(caller)])

    @routes.get("/{name:path}/explain")
    async def explain_model(
        caller: Reader,
        name: str,
        input_tokens: Tokens = 1_000,
        output_tokens: Tokens = 500,
        images: Annotated[int, Query(ge=0, le=10_000)] = 0,
        tools: bool = False,
        structured_output: bool = False,
        stream: bool = False,
        tag: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006  # FastAPI copies it
        region: str | None = None,
        hardware: Hardware | None = None,
        provider: str | None = None,
        strategy: Strategy | None = None,
    ) -> Explanation:
        """Where a request would go now, attempt by attempt, and why the other deployments are left out."""
        needs = needs_for(input_tokens, output_tokens, images, tools=tools, structured=structured_output, stream=stream)
        asked = {"region": region, "hardware": hardware, "provider": provider, "strategy": strategy}
        pairs = [f"tag={each}" for each in tag] + [f"{key}={value}" for key, value in asked.items() if value]
        model, judged = guide.explain(caller, name, needs, ",".join(pairs))
        return _explanation(model, judged, strategy)

    @routes.get("/{name:path}")
    async def get_model(caller: Reader, name: str) -> ModelView:
        """One model."""
        return _model(guide.find(caller, name), guide, await hosted.standing(), caller)

    return routes


def usage_router(comparing: Comparing) -> APIRouter:
    """The routes under /api/v1/usage and /api/v1/costs that need prices."""
    routes = APIRouter(prefix="/api/v1", tags=["usage"])

    @routes.get("/usage/compare")
    @routes.get("/costs/compare", tags=["costs"], operation_id="compare_costs")
    async def compare_usage(
        caller: UsageReader,
        providers: Names = "",
        models: Names = "",
        since: Annotated[
            Moment | None, Query(description="From this time on; default: 30 days before `until`.")
        ] = None,
        until: Annotated[Moment | None, Query(description="Up to this time, without it; default: now.")] = None,
    ) -> ComparisonView:
        """What the same traffic would have cost at other providers, model by model, or all at other models."""
        return _comparison(await comparing.compare(caller, _split(providers), _split(models), since, until))

    return routes


def _split(names: str) -> list[str]:
    return list(dict.fromkeys(filter(None, (name.strip() for name in names.split(",")))))


def _comparison(found: Comparison) -> ComparisonView:
    return ComparisonView(
        since=datetime.fromtimestamp(found.since, UTC),
        until=datetime.fromtimestamp(found.until, UTC),
        requests=sum(row.calls for row in found.traffic),
        input_tokens=sum(row.usage.input_total for row in found.traffic),
        cached_tokens=sum(row.usage.cache_read for row in found.traffic),
        output_tokens=sum(row.usage.output for row in found.traffic),
        cost_usd=to_usd(sum(row.cost for row in found.traffic)),
        candidates=[
            CandidateView(
                name=each.name,
                cost_usd=to_usd(each.cost),
                actual_cost_usd=to_usd(each.actual),
                covered_requests=each.calls,
                origins=list(each.origins),
                unknown=list(each.unknown),
            )
            for each in found.candidates
        ],
    )


def _explanation(model: Model, judged: list[Judgement], strategy: Strategy | None) -> Explanation:
    attempts: list[AttemptView] = []
    left_out: list[JudgementView] = []
    for each in judged:
        place, why = each.deployment, each.why
        if each.attempt is None:
            left_out.append(JudgementView(provider=place.provider, model=place.model, why=why))
        else:
            view = AttemptView(provider=place.provider, model=place.model, why=why, attempt=each.attempt)
            attempts.append(view)
    return Explanation(model=model.name, strategy=strategy or model.strategy, attempts=attempts, left_out=left_out)


def _model(model: Model, guide: ModelGuide, standing: Standing, caller: Caller) -> ModelView:
    health, now, costs = guide.lineups.current.health, guide.clock.now(), caller.may(_COSTS)
    return ModelView(
        name=model.name,
        task=model.task,
        strategy=model.strategy,
        on_context_overflow="larger" if model.widens else "refuse",
        declared_in=model.declared_in,
        deployments=[_deployment(place, _health(place, health, standing, now), costs) for place in model.deployments],
    )


def _deployment(place: Deployment, health: HealthView, costs: bool) -> DeploymentView:
    same: dict[str, Any] = {
        name: getattr(place, name)
        for name in DeploymentView.model_fields
        if name not in ("price", "cost", "health", "tags")
    }
    return DeploymentView(
        **same,
        tags=sorted(place.tags),
        price=_price(place.price),
        cost=_price(place.cost) if costs else None,
        health=health,
    )


def _health(place: Deployment, health: Health, standing: Standing, now: float) -> HealthView:
    wait = health.cooling_until(place.index) - now
    state, reason = standing.of(place.model) if place.provider == LOCAL else ("READY", "")
    there: Literal["ready", "loading", "unavailable"] = _AT_HOST.get(state, "unavailable")
    return HealthView(
        state="cooling" if there == "ready" and wait > 0 else there,
        reason=reason if there == "unavailable" else None,
        cooling_seconds=wait if wait > 0 else None,
        cause=health.cause(place.index) if wait > 0 else None,
        first_token_seconds=health.latency(place.index, True),
        answer_seconds=health.latency(place.index, False),
    )


def _price(tariff: Tariff | None) -> PriceView | None:
    if tariff is None:
        return None
    tiers = [TierView(**_rates(tier), above=tier.above) for tier in tariff.tiers]
    batch = None if tariff.batch is None else RatesView(**_rates(tariff.batch))
    return PriceView(**_rates(tariff), origin=tariff.origin, tiers=tiers, batch=batch)


def _rates(tariff: Tariff) -> dict[str, float]:
    """Pico-USD per token are micro-USD per million tokens."""
    special = tariff.special or _PLAIN
    return {
        "input": to_usd(tariff.input),
        "cached_input": to_usd(tariff.cache_read),
        "cache_write": to_usd(tariff.cache_write),
        "output": to_usd(tariff.output),
        "reasoning": to_usd(tariff.output + special.reasoning),
        "audio_input": to_usd(tariff.input + special.audio_input),
        "audio_output": to_usd(tariff.output + special.audio_output),
        "image_input": to_usd(tariff.input + special.image_input),
        "per_call": to_usd(tariff.per_call),
        "per_image": special.image / _PICOS,
        "per_second": special.millisecond * _MILLISECONDS / _PICOS,
        "per_character": special.character / _PICOS,
    }
