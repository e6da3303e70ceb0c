"""Keys, callers and records for tests."""

from typing import Any

from polyforge.kernel.ids import new_ulid
from polyforge.kernel.usage import Usage
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.defaults import DEFAULT_ORGANIZATION_ID, DEFAULT_PROJECT_ID
from polyforge.tenancy.keys import ApiKey
from polyforge.tenancy.ledger.records import UsageRecord

NOW = 1_700_000_000.0


def api_key(**changes: Any) -> ApiKey:
    """A key of the default project."""
    values: dict[str, Any] = {
        "id": new_ulid(),
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "name": "sample",
        "prefix": "pf-sample0",
        "hash": b"\1" * 32,
        "previous_hash": None,
        "previous_until": None,
        "scopes": ("inference",),
        "models": None,
        "rpm": None,
        "tpm": None,
        "concurrency": None,
        "budget_micros": None,
        "budget_period": "total",
        "expires_at": None,
        "created_at": NOW,
        "created_by": None,
        "revoked_at": None,
        "version": 1,
    }
    return ApiKey(**{**values, **changes})


def caller(*scopes: str, models: tuple[str, ...] | None = None, project_id: str = DEFAULT_PROJECT_ID) -> Caller:
    """A caller of the default project, or of another one."""
    return Caller(
        key_id=new_ulid(),
        key_name="sample",
        organization_id=DEFAULT_ORGANIZATION_ID,
        project_id=project_id,
        scopes=frozenset(scopes),
        models=models,
    )


def record(**changes: Any) -> UsageRecord:
    """A call of the default project that cost 40 and was priced 50 micro-USD."""
    values: dict[str, Any] = {
        "id": new_ulid(),
        "key_id": "0000000000000000000000000K",
        "organization_id": DEFAULT_ORGANIZATION_ID,
        "project_id": DEFAULT_PROJECT_ID,
        "task": "chat",
        "model": "assistant",
        "provider": "openai",
        "deployment": "gpt",
        "status": "ok",
        "http_status": 200,
        "started_at": NOW,
        "duration_ms": 123,
        "period_start": 0,
        "usage": Usage(input=10, cache_read=5, cache_write=1, output=20, reasoning=7),
        "cost": 40,
        "price": 50,
    }
    return UsageRecord(**{**values, **changes})
