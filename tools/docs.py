"""Writes the pages of docs/ that follow from the code; `--check` only says which ones are out of date.

In docs/reference: settings.md from the settings models, errors.md from the error tree, metrics.md from the metrics,
permissions.md from the policy, flow-format.md and flow-nodes.md from the flows; and docs/decisions/README.md from the
decisions' headings.
"""

import difflib
import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from flow_pages import flow_format_page, flow_nodes_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import polyforge.adapters
from polyforge.dialects.openai_errors import status_of
from polyforge.kernel.errors import PolyforgeError
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.metrics import describe
from polyforge.tenancy.policy import BUILT_IN_ROLES, LEVELS
from polyforge.wiring.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
GENERATED = "<!-- Written by `make docs`; change the code instead. -->\n\n"

ADAPTED = {
    "providers": ("providers", "providers.<name>"),
    "people": ("notifiers", "people.notifier"),
    "audit": ("audit_sinks", "audit.exports.<name>"),
    "logs": ("request_log_sinks", "logs.exports.<name>"),
    "prices": ("price_catalogs", "prices"),
    "cache": ("caches", "cache"),
    "objects": ("objects", "objects"),
    "batches": ("data_stores", "batches.stores.<name>"),
    "guardrails": ("guardrails", "guardrails.<name>"),
    "shared_limits": ("lease_stores", "shared_limits"),
    "model_sources": ("model_sources", "model_sources.<name>"),
}
"""Sections in which adapters are chosen: the port, and where the adapter's own settings stand."""

OPAQUE = "Something went wrong on our side; the request id tells us where."

WORDS: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretRef: "secret",
    Any: "anything",
}


class Row(NamedTuple):
    """One setting."""

    path: str
    type: str
    default: str
    meaning: str


def settings_page() -> str:
    """Every setting: the tree first, then what each adapter adds to it."""
    top = [row for row in rows(Settings, "") if "." not in row.path]
    parts = [
        "# Settings\n",
        (
            "Read from, later ones win: the defaults, `polyforge.yaml` (or the file that `--config` or "
            "`POLYFORGE_CONFIG` names), environment variables, the command line. An unknown or wrong setting ends the "
            "start with its path. "
            "`polyforge check` prints what is in force and where each value came from.\n"
        ),
        (
            "An environment variable holds a YAML value. A secret is `env:NAME`, `file:/path`, the value itself or, "
            "where it is not needed before the database is open, `secret:name`; it is never shown.\n"
        ),
        table(top),
    ]
    for name, field in Settings.model_fields.items():
        section = model_in(field.annotation)
        if section is None:
            continue
        parts += [f"## {name}\n", f"{field.description or summary(section)}\n", table(list(field_rows(name, field)))]
        if name in ADAPTED:
            parts += adapter_parts(*ADAPTED[name])
    return GENERATED + "\n".join(parts)


def adapter_parts(port: str, path: str) -> Iterator[str]:
    """The settings that the adapters of a port add to their entry, which is at `path`."""
    package = importlib.import_module(f"{polyforge.adapters.__name__}.{port}")
    for module in pkgutil.iter_modules(package.__path__):
        # A folder holds what several adapters share.
        if module.ispkg:
            continue
        settings: type[BaseModel] = importlib.import_module(f"{package.__name__}.{module.name}").Settings
        yield f"### {path.removesuffix('.<name>')} with `use: {module.name}`\n"
        yield f"{summary(settings)}\n"
        yield table(list(rows(settings, path)))


def rows(model: type[BaseModel], path: str) -> Iterator[Row]:
    """The settings of a model, nested ones included."""
    for name, field in model.model_fields.items():
        yield from field_rows(f"{path}.{name}".removeprefix("."), field)


def field_rows(path: str, field: FieldInfo) -> Iterator[Row]:
    """The settings below a field, or the field itself where there are none."""
    inner = model_in(field.annotation)
    if inner is None:
        yield Row(path, type_words(field), default_words(field), field.description or "")
        return
    containers = {get_origin(kind) for kind in alternatives(field.annotation)}
    where = f"{path}.<name>" if dict in containers else f"{path}[]" if tuple in containers else path
    yield from rows(inner, where)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings model inside an annotation, if there is one."""
    for kind in alternatives(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        for argument in get_args(kind):
            if found := model_in(argument):
                return found
    return None


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; anything else alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def type_words(field: FieldInfo) -> str:
    """What a value of a field looks like, with its bounds."""
    kinds = [words_of(kind) for kind in alternatives(field.annotation) if kind is not types.NoneType]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join([" or ".join(kinds), *bounds])


def words_of(kind: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words_of(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is dict:
        return f"{words_of(arguments[1])} by name"
    if origin in (list, tuple):
        return f"list of {words_of(arguments[0])}"
    return WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def default_words(field: FieldInfo) -> str:
    """A field's default as one would write it in polyforge.yaml."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ({}, ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def variable(path: str) -> str:
    """The environment variable of a setting; an item of a list has none."""
    return "" if "[]" in path else f"`POLYFORGE_{path.replace('.', '__').upper()}`"


def table(settings: list[Row]) -> str:
    """Settings as a Markdown table."""
    lines = ["| setting | value | default | environment | meaning |", "|---|---|---|---|---|"]
    for row in settings:
        cells = (f"`{row.path}`", row.type, row.default, variable(row.path), row.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def summary(described: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((described.__doc__ or "").strip().split("\n\n")[0].split())


def errors_page() -> str:
    """Every error that a caller can get."""
    lines = [
        "# Errors\n",
        (
            'On OpenAI\'s paths an error is `{"error": {message, type, param, code}}`; under `/api` it '
            "is `application/problem+json` with `status`, `detail`, `code`, `param` and `request_id`. Every answer "
            "carries `x-request-id`; anything unexpected is a 500 that says no more than that id, and the log "
            "has the rest.\n"
        ),
        "| code | status | on /v1 | type on /v1 | meaning |",
        "|---|---|---|---|---|",
    ]
    for error in sorted(descendants(PolyforgeError), key=lambda each: (each.status, each.code)):
        shown = status_of(error.__new__(error))
        meaning = OPAQUE if error is PolyforgeError else summary(error)
        lines.append(f"| `{error.code}` | {error.status} | {shown} | `{error.kind}` | {meaning} |")
    return GENERATED + "\n".join(lines) + "\n"


def descendants(error: type[PolyforgeError]) -> Iterator[type[PolyforgeError]]:
    """An error and all that derive from it."""
    yield error
    for child in error.__subclasses__():
        yield from descendants(child)


def permissions_page() -> str:
    """What there is to permit, and what each role permits."""
    names = list(BUILT_IN_ROLES)
    lines = [
        "# Permissions and roles\n",
        (
            "A permission reaches over one project, over an organization, or over the installation. Keys carry "
            "permissions as their scopes, never more than their maker has. People and groups are members of a project "
            "or of a whole organization, with a role; an organization may add its own. Operators, beside their "
            "roles, hold every permission over the installation.\n"
        ),
        "| role | |",
        "|---|---|",
        *(f"| {role.name} | {role.description} |" for role in BUILT_IN_ROLES.values()),
        "",
        f"| permission | over | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for permission, level in LEVELS.items():
        marks = ["yes" if permission in BUILT_IN_ROLES[name].permissions else "" for name in names]
        lines.append(f"| `{permission}` | {level} | {' | '.join(marks)} |")
    return GENERATED + "\n".join(lines) + "\n"


def decisions_page() -> str:
    """The list of decisions."""
    lines = ["# Decisions\n", "What was decided, why, and what was rejected. The newest word on a matter holds.\n"]
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        heading = page.read_text().split("\n", 1)[0]
        title = re.sub(r"^#\s*\d*\W*", "", heading)
        lines.append(f"- [{page.stem[:4]}]({page.name}) {title}")
    return GENERATED + "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric on /metrics."""
    lines = [
        "# Metrics\n",
        (
            "`GET /metrics` answers with the sum over all gateway workers, in Prometheus' text format 0.0.4. Off the "
            "loopback address it needs a key with the scope `metrics:read`. Counters do not fall when a worker dies; "
            "gauges count living workers. At most `telemetry.metric_models` model names get series of their own, the "
            "rest is `other`; `none` stands where a request did not get far enough to have a value.\n"
        ),
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, kind, labels, meaning in describe():
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {meaning} |")
    return GENERATED + "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/errors.md": errors_page,
    "reference/metrics.md": metrics_page,
    "reference/permissions.md": permissions_page,
    "reference/flow-format.md": lambda: GENERATED + flow_format_page(),
    "reference/flow-nodes.md": lambda: GENERATED + flow_nodes_page(),
    "decisions/README.md": decisions_page,
}


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    stale = 0
    for name, build in PAGES.items():
        page, wanted = DOCS / name, build()
        current = page.read_text() if page.exists() else ""
        if current == wanted:
            continue
        stale += 1
        if check:
            print("\n".join(difflib.unified_diff(current.split("\n"), wanted.split("\n"), name, "code", "", "", 0, "")))
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(wanted)
    print(f"docs: {len(PAGES)} pages, {stale} {'out of date: run `make docs`' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
