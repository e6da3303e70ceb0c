"""Routes of guardrails, and of the engine that finds personal data."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends

from polyforge.gateway.guarding.schemas import (
    DetectAnswer,
    DetectRequest,
    GuardrailKindList,
    GuardrailKindView,
    GuardrailList,
    GuardrailView,
    MatchView,
    RedactAnswer,
    RedactRequest,
    TestAnswer,
    TestRequest,
    TestView,
)
from polyforge.gateway.guarding.trying import Trial, Trying
from polyforge.privacy.detector import Detector
from polyforge.privacy.kinds import KINDS
from polyforge.privacy.masks import Mask, mask
from polyforge.privacy.matches import Match
from polyforge.privacy.phones import DEFAULT_REGIONS
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.permission import Permission

Reader = Annotated[Caller, Depends(Permission("models:read"))]
User = Annotated[Caller, Depends(Permission("inference"))]


def router(trying: Trying) -> APIRouter:
    """The routes under /api/v1/guardrails and /api/v1/privacy."""
    routes = APIRouter(prefix="/api/v1", tags=["guardrails"])

    @routes.get("/guardrails")
    async def list_guardrails(caller: Reader) -> GuardrailList:
        """Every guardrail, in the order in which calls pass them."""
        return GuardrailList(
            data=[
                GuardrailView(
                    name=rule.name,
                    use=rule.use,
                    on=sorted(rule.stages),
                    action=rule.action,
                    on_error=rule.on_error,
                    always=rule.always,
                )
                for rule in trying.rules()
            ]
        )

    @routes.post("/guardrails/test")
    async def test_guardrails(caller: User, asked: TestRequest) -> TestAnswer:
        """What each guardrail would do with a text. No model answers it; what guardrails ask models is charged for."""
        trials = await trying.trials(caller, asked.text, asked.guardrails, asked.stage, asked.model)
        return TestAnswer(data=[_trial(trial) for trial in trials])

    @routes.get("/privacy/kinds")
    async def list_kinds(caller: User) -> GuardrailKindList:
        """What personal data and secrets can be looked for."""
        return GuardrailKindList(
            data=[
                GuardrailKindView(name=kind.name, group=kind.group, description=kind.description)
                for kind in KINDS.values()
            ]
        )

    @routes.post("/privacy/detect")
    async def detect(caller: User, asked: DetectRequest) -> DetectAnswer:
        """Find personal data and secrets in a text."""
        return DetectAnswer(data=_matches(await asyncio.to_thread(_found, asked)))

    @routes.post("/privacy/redact")
    async def redact(caller: User, asked: RedactRequest) -> RedactAnswer:
        """Hide personal data and secrets in a text."""
        found = await asyncio.to_thread(_found, asked)
        text = mask(asked.text, found, Mask(asked.template, asked.keep_last))
        return RedactAnswer(text=text, data=_matches(found))

    return routes


def _trial(trial: Trial) -> TestView:
    outcome = trial.outcome
    return TestView(
        name=trial.rule.name,
        decision=trial.decision,
        kinds=list(outcome.kinds),
        count=outcome.count,
        text=outcome.texts[0] if trial.decision == "change" and outcome.texts else None,
        milliseconds=round(trial.seconds * 1000, 3),
    )


def _found(asked: DetectRequest) -> list[Match]:
    regions = DEFAULT_REGIONS if asked.regions is None else asked.regions
    return Detector(asked.kinds, regions=regions, least=asked.least_confidence).detect(asked.text)


def _matches(found: list[Match]) -> list[MatchView]:
    return [
        MatchView(kind=match.kind, start=match.start, end=match.end, confidence=match.confidence) for match in found
    ]
