"""What somebody should look at, pure: from how things stand to what is so and what to do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from polyforge.kernel.money import Micros, to_usd
from polyforge.operations.overview.schemas import AttentionView, ComponentView, CoolingView, Kind, Link, Severity
from polyforge.registry.catalog import LOCAL, Model
from polyforge.registry.deployments.records import FailedServing
from polyforge.tenancy.keys import ApiKey
from polyforge.tenancy.limits.own import OwnBudget

MOST: Final = 100
NEARLY: Final = 0.8
SOON_SECONDS: Final = 7 * 86_400.0
_DAY: Final = 86_400
_HOUR: Final = 3_600
_ORDER: Final[tuple[Severity, ...]] = ("critical", "warning", "info")
_HINTS: Final[Mapping[Kind, tuple[str, Link | None]]] = {
    "gateway": ("It is started anew by itself; if that goes on, the log of the process says why.", None),
    "model_host": ("It is started anew by itself; if that goes on, the log of the process says why.", "/models"),
    "worker": (
        "Its jobs go on in another worker, or once it is there again; if that takes long, look at its log.",
        None,
    ),
    "database": ("Calls go on with the keys that are known; look at the database and its connection.", None),
    "journal": ("Nothing is lost: it waits on disk until the database takes it. Look at the database.", None),
    "cache": ("Calls go on without it; look at the server of the cache.", "/settings"),
    "export": ("Nothing is lost: it waits until the sink takes it. Look at the sink.", "/audit"),
    "disk": ("Make room on the disk of the data folder, or move the folder to a larger one.", None),
}


def sorted_by_severity(items: Iterable[AttentionView]) -> list[AttentionView]:
    """The most severe first, else in their order; at most MOST."""
    return sorted(items, key=lambda item: _ORDER.index(item.severity))[:MOST]


def of_components(components: Sequence[ComponentView]) -> list[AttentionView]:
    """Parts that do not do well."""
    found: list[AttentionView] = []
    for each in components:
        if each.state == "ok":
            continue
        hint, link = _HINTS[each.kind]
        down = each.state == "down"
        subject = f"{each.kind}/{each.name}"
        if each.kind == "disk":
            message = f"The disk of the data folder is nearly full: {each.detail}."
            found.append(_item("critical" if down else "warning", "disk_nearly_full", subject, message, hint, link))
            continue
        severity: Severity = "critical" if down and each.kind != "cache" else "warning"
        code = "component_down" if down else "component_degraded"
        message = f"{each.kind.replace('_', ' ').capitalize()} {each.name}: {each.detail}."
        found.append(_item(severity, code, subject, message, hint, link))
    return found


def of_drops(dropped: Mapping[str, int]) -> list[AttentionView]:
    """What was dropped lately."""
    hint = "More came than could be written: look at the disk, at the sinks, and at what is kept of requests."
    return [
        _item(
            "warning",
            "records_dropped",
            name,
            f"{count} {name} were dropped in the last 15 minutes.",
            hint,
            "/requests",
        )
        for name, count in sorted(dropped.items())
    ]


def of_budgets(budgets: Sequence[OwnBudget]) -> list[AttentionView]:
    """Budgets that are spent, or nearly."""
    found: list[AttentionView] = []
    for each in budgets:
        share = each.used / each.amount if each.amount > 0 else 1.0
        if share < NEARLY:
            continue
        used = f"{_usd(each.used)} of {_usd(each.amount)} are used"
        link: Link = "/keys" if each.limit is None else "/limits"
        what = f"The budget of the key {each.name}" if each.limit is None else f"The budget {each.name}"
        if share >= 1:
            stops = "calls are refused" if each.hard else "calls go on, since it only tells"
            hint = "Raise it, add to it for now, or wait until it starts again."
            severity: Severity = "critical" if each.hard else "warning"
            found.append(_item(severity, "budget_spent", each.id, f"{what} is spent: {used}; {stops}.", hint, link))
        else:
            hint = "Raise it before calls are refused, or look at what uses it."
            found.append(
                _item("warning", "budget_nearly_spent", each.id, f"{what} is nearly spent: {used}.", hint, link)
            )
    return found


def of_cooling(cooling: Sequence[CoolingView]) -> list[AttentionView]:
    """Deployments that are left alone."""
    causes = {
        "failure": ("it failed", "It is tried again by itself; look at its failed requests for the reason."),
        "rate": (
            "it had too many requests",
            "It is tried again by itself; add a deployment, or ask for a higher rate.",
        ),
        "quota": ("the account has no credit left", "Add credit at the provider."),
    }
    found: list[AttentionView] = []
    for each in cooling:
        why, hint = causes[each.cause]
        name = each.deployment or "every model"
        message = f"{name} at {each.provider} is left alone for {each.seconds:.0f} s more, because {why}."
        subject = f"{each.model}/{each.provider}/{each.deployment}"
        severity: Severity = "critical" if each.cause == "quota" else "warning"
        found.append(_item(severity, "deployment_cooling", subject, message, hint, "/models"))
    return found


def of_keys(keys: Sequence[ApiKey], now: float) -> list[AttentionView]:
    """Keys that are about to expire."""
    hint = "Give it a later end, or make a new key and hand that out."
    return [
        _item(
            "warning",
            "key_expires",
            key.id,
            f"The key {key.name} expires in {_span(key.expires_at - now)}.",
            hint,
            "/keys",
        )
        for key in keys
        if key.expires_at is not None
    ]


def of_failed_servings(failed: Sequence[FailedServing]) -> list[AttentionView]:
    """Versions of registered models that a machine cannot serve."""
    hint = "Promote another version, or roll back; the reason says what is wrong with this one."
    return [
        _item(
            "critical",
            "model_failed",
            f"{each.model}@{each.number}/{each.machine}",
            f"Version {each.number} of {each.model} cannot be served on {each.machine}: {each.reason}",
            hint,
            "/local-models",
        )
        for each in failed
    ]


def of_failed_models(failed: Mapping[str, str]) -> list[AttentionView]:
    """Models of the host that could not be loaded: why, by name."""
    hint = "Mend what the reason names, then load it again."
    return [
        _item("critical", "model_failed", name, f"The model {name} could not be loaded: {reason}", hint, "/models")
        for name, reason in sorted(failed.items())
    ]


def of_models(models: Sequence[Model]) -> list[AttentionView]:
    """Nothing to call but what is in the package."""
    if any(place.provider != LOCAL for model in models for place in model.deployments) or len(models) > 1:
        return []
    hint = "Add a provider and its models, or a model of your own."
    return [_item("info", "no_provider", "providers", "No provider is declared yet.", hint, "/providers")]


def of_console() -> AttentionView:
    """The console's pages are not there."""
    hint = "Run `make console` in the clone, or install the package, which has them."
    return _item("info", "console_not_built", "console", "The console is not built.", hint, None)


def _item(severity: Severity, code: str, subject: str, message: str, hint: str, link: Link | None) -> AttentionView:
    return AttentionView.model_validate(
        {"severity": severity, "code": code, "subject": subject, "message": message, "hint": hint, "link": link}
    )


def _usd(micros: Micros) -> str:
    return f"{to_usd(micros):.2f} USD"


def _span(seconds: float) -> str:
    if seconds >= 2 * _DAY:
        return f"{int(seconds // _DAY)} days"
    if seconds >= 2 * _HOUR:
        return f"{int(seconds // _HOUR)} hours"
    return f"{max(1, int(seconds // 60))} minutes"
