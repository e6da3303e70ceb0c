"""What the routes of additions take and give."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from polyforge.registry.settings import ModelSettings

DeclaredIn = Literal["file", "api"]
MAX_SETTINGS: Final = 100

ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
ProviderUse = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
AddedModelName = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:-]*/)*([A-Za-z0-9][A-Za-z0-9._:-]*|\*)$", max_length=200)
]
UpstreamModel = Annotated[str, StringConstraints(min_length=1, max_length=500)]
ProviderSettings = Annotated[dict[str, Any], Field(max_length=MAX_SETTINGS)]
_SETTINGS: Final = (
    "What `GET /api/v1/provider-kinds` says of its kind. A secret is given as it is, and kept as a secret; or as"
    " `secret:name`."
)


class ProviderBody(BaseModel):
    """What a provider is, all of it."""

    model_config = ConfigDict(extra="forbid")

    use: ProviderUse = Field(description="Its kind, as `GET /api/v1/provider-kinds` names it.")
    settings: ProviderSettings = Field(default_factory=dict, description=_SETTINGS)


class NewProvider(ProviderBody):
    """A provider to add."""

    name: ProviderName = Field(description="What deployments call it.")


class ProviderTest(ProviderBody):
    """A provider to try, which need not be added."""

    model: UpstreamModel | None = Field(
        default=None, description="A model of it to ask for a word; default: ask which models it has."
    )


class KnownProviderTest(BaseModel):
    """How to try a provider that is there."""

    model_config = ConfigDict(extra="forbid")

    model: UpstreamModel | None = Field(
        default=None, description="A model of it to ask for a word; default: ask which models it has."
    )


class Addition(BaseModel):
    """Where something was declared, by whom, and whether it is in force."""

    name: str
    declared_in: DeclaredIn = Field(description="`file`: polyforge.yaml, and read-only here; `api`: added here.")
    error: str | None = Field(description="Why it is left out, though it was added; null: it is in force.")
    created_at: datetime | None = Field(description="Null: it is declared in the file.")
    created_by: str | None = Field(description="The id of the key, user or service account.")
    changed_at: datetime | None
    changed_by: str | None


class ProviderView(Addition):
    """A provider; its secrets as references, stars for those that are written out in the file."""

    use: str
    settings: dict[str, Any]
    models: list[str] = Field(description="Names of the models that have a deployment there.")


class ProviderList(BaseModel):
    """Every provider, by name."""

    data: list[ProviderView]


class ProviderKindView(BaseModel):
    """A kind of provider, and what its form asks for."""

    name: str = Field(description="What `use` names it.")
    label: str
    description: str
    settings: dict[str, Any] = Field(description="JSON schema of its settings.")
    secrets: list[str] = Field(description="Which of the settings are secrets.")
    error: str | None = Field(description="Why it cannot be used on this machine.")


class ProviderKindList(BaseModel):
    """Every kind of provider."""

    data: list[ProviderKindView]


class TestError(BaseModel):
    """What went wrong when a provider was tried."""

    __test__ = False

    code: str
    message: str
    hint: str = Field(description="What to do about it.")


class TestResult(BaseModel):
    """What came of trying a provider."""

    __test__ = False

    ok: bool
    latency_ms: float = Field(description="How long the call took.")
    models: list[str] | None = Field(description="The models that it lists; null: it was not asked for them.")
    error: TestError | None


class NewDeclaration(ModelSettings):
    """A model to add: a name that callers use, and what answers for it, as in `models` of polyforge.yaml."""

    name: AddedModelName = Field(description="What callers call it; `prefix/*`: every model of one provider.")


class DeclarationView(Addition):
    """A model as it was declared."""

    settings: dict[str, Any] = Field(description="As in `models` of polyforge.yaml.")


class DeclarationList(BaseModel):
    """Every declared model, by name."""

    data: list[DeclarationView]
