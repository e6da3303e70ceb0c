"""The models that callers of the Open Inference Protocol reach: those that our own model host computes.

They are the models of the catalog with deployments there, for whom and as it names them, and those of
the host's own repository in Triton's layout, which may come and go while everything runs and which every project sees.
"""

import asyncio
from typing import Any, Final

import msgspec

from polyforge.dialects import oip
from polyforge.dialects.oip_naming import hosted_as, renamed_description, renamed_error
from polyforge.dialects.oip_paths import ModelPath, hosted_path
from polyforge.egress.oip_client import OK, OipAnswer, OipClient, model_error
from polyforge.kernel.errors import Invalid, ModelNotFound, PolyforgeError, UpstreamFailed
from polyforge.kernel.hosted_names import is_hosted, split_deployed
from polyforge.kernel.tasks import Task, TensorRequest
from polyforge.registry.catalog import LOCAL, Catalog, Model
from polyforge.serving.reporting import VersionReport, decode_reports
from polyforge.tenancy.callers import Caller

SECONDS: Final = 10.0
LOADING_SECONDS: Final = 600.0
METRICS_SECONDS: Final = 2.0
REPORT_SECONDS: Final = 5.0
_NAMES_PATH: Final = "/v2/repository/polyforge/names"
_REPORTS_PATH: Final = "/v2/repository/polyforge/models"
_IN_TOKENS: Final[frozenset[Task]] = frozenset(
    {"chat", "completion", "embedding", "rerank", "classification", "translation", "language_detection", "moderation"}
)
"""Tasks whose models may read texts: what those are sent bounds the tokens that it can be."""
_NOT_READY: Final = 503
_names_decoder: Final = msgspec.json.Decoder(list[str])


class HostedModels:
    """What one gateway worker knows of its model host. `template` is the declared model that is always there."""

    def __init__(self, client: OipClient, template: str, *, has_repository: bool) -> None:
        self._client = client
        self._template = template
        self._has_repository = has_repository
        self._names: frozenset[str] = frozenset()
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def choose(self, catalog: Catalog, caller: Caller, request: TensorRequest) -> Model:
        """The model that a request is for; notes on the request what its bytes tell of tokens. Errors as for `find`."""
        model = await self.find(catalog, caller, request.model, request.version)
        request.task = model.task
        request.binary = 0 if model.task in _IN_TOKENS and _may_hold_texts(request) else len(request.body)
        return model

    async def find(self, catalog: Catalog, caller: Caller, name: str, version: str = "") -> Model:
        """A model with its deployments on the host; ModelNotFound when there is none that the caller may use.

        Invalid for one that only providers answer for.
        """
        if not caller.may_use(name):
            raise ModelNotFound(f"there is no model {name!r}", param="model")
        try:
            model = catalog.find(name, caller.project_id)
        except ModelNotFound:
            if not await self._is_of_repository(name):
                raise
            return self._of_repository(catalog, name)
        if version and split_deployed(model.deployments[0].model) is not None:
            return await self.find(catalog, caller, f"{model.name}@{version}")
        places = tuple(place for place in model.deployments if place.provider == LOCAL)
        if not places:
            raise Invalid(
                f"the model {name!r} is a provider's: the Open Inference Protocol reaches those of our own model host",
                param="model",
            )
        return msgspec.structs.replace(model, deployments=places, simple=len(places) == 1, cache=None)

    async def describe(self, catalog: Catalog, caller: Caller, path: ModelPath) -> tuple[int, bytes]:
        """Status and body of a model's metadata, configuration, statistics or readiness; errors as for `find`."""
        model = await self.find(catalog, caller, path.name, path.version)
        deployed = model.deployments[0].model
        hosted = hosted_as(deployed)
        answer = await self._client.ask(hosted_path(deployed, path.operation, path.version), seconds=SECONDS)
        if answer.status != OK and not (path.operation == "ready" and answer.status == _NOT_READY):
            raise model_error(answer, hosted, model.name)
        return answer.status, _renamed(answer.body, {hosted: model.name})

    async def statistics(self, catalog: Catalog, caller: Caller) -> bytes:
        """The statistics of every model of the host, by the names that the caller knows or else by the host's."""
        answer = await self._client.ask("/v2/models/stats", seconds=SECONDS)
        _check(answer)
        return _renamed(answer.body, {hosted: names[0] for hosted, names in known_names(catalog, caller).items()})

    async def index(self, catalog: Catalog, caller: Caller, body: bytes) -> bytes:
        """The models of the host that the caller may use, as the repository's index tells of them."""
        answer = await self._client.ask("/v2/repository/index", body, seconds=SECONDS)
        _check(answer)
        known = known_names(catalog, caller)
        repository = await self._ask_names() if self._has_repository else frozenset[str]()
        told: list[oip.IndexEntry] = []
        for entry in oip.decode_index(answer.body):
            names = known.get(entry.name, [])
            if entry.name in repository and entry.name not in names and caller.may_use(entry.name):
                names = [*names, entry.name]
            told += [_entry_as(entry, name) for name in names]
        return oip.encode_json(told)

    def name_at_host(self, catalog: Catalog, caller: Caller, name: str) -> str:
        """What the host calls a model that may be loaded and unloaded: a declared one, or one of its repository.

        ModelNotFound for registered models, which have versions to promote instead.
        """
        deployed = name
        if catalog.knows(name):
            places = catalog.find(name, caller.project_id).deployments
            deployed = next((place.model for place in places if place.provider == LOCAL), name)
        if is_hosted(deployed):
            raise ModelNotFound(f"there is no model {name!r}", param="model")
        return deployed

    async def control(self, name: str, does: str, body: bytes) -> None:
        """Load or unload a model, by the host's name; errors as the host says."""
        path = f"{oip.model_path(name).replace('/v2/models/', '/v2/repository/models/')}/{does}"
        _check(await self._client.ask(path, body, seconds=LOADING_SECONDS))

    async def ready(self) -> bool:
        """Whether the host is there, and has loaded what it began with."""
        try:
            return (await self._client.ask("/v2/health/ready", seconds=SECONDS)).status == OK
        except PolyforgeError:
            return False

    async def metrics(self) -> bytes:
        """The host's own page for Prometheus; nothing while it does not answer."""
        try:
            answer = await self._client.ask("/metrics", seconds=METRICS_SECONDS)
        except PolyforgeError:
            return b""
        return answer.body if answer.status == OK else b""

    async def reports(self) -> tuple[list[VersionReport], frozenset[str]]:
        """Everything that the host tells of its models, by its own names, and the names of its repository."""
        asked = self._client.ask(_REPORTS_PATH, b"{}", seconds=REPORT_SECONDS)
        names = self._ask_names() if self._has_repository else _no_names()
        answer, of_repository = await asyncio.gather(asked, names)
        _check(answer)
        try:
            return decode_reports(answer.body), of_repository
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("the model host's answer about its models cannot be read") from error

    async def _is_of_repository(self, name: str) -> bool:
        if not self._has_repository or is_hosted(name):
            return False
        if name in self._names:
            return True
        async with self._asking:
            return name in self._names or name in await self._ask_names()

    async def _ask_names(self) -> frozenset[str]:
        answer = await self._client.ask(_NAMES_PATH, b"{}", seconds=SECONDS)
        _check(answer)
        try:
            self._names = frozenset(_names_decoder.decode(answer.body))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("the model host's list of names cannot be read") from error
        return self._names

    def _of_repository(self, catalog: Catalog, name: str) -> Model:
        template = catalog.find(self._template)
        place = msgspec.structs.replace(template.deployments[0], model=name)
        return msgspec.structs.replace(template, name=name, task="inference", deployments=(place,), cache=None)


def _may_hold_texts(request: TensorRequest) -> bool:
    return not request.operation.startswith("infer") or oip.holds_texts(request.body, request.header_length)


async def _no_names() -> frozenset[str]:
    return frozenset()


def known_names(catalog: Catalog, caller: Caller) -> dict[str, list[str]]:
    """What a caller calls the models of the host, by the host's names."""
    known: dict[str, list[str]] = {}
    for model in catalog.listed(caller.project_id):
        if not caller.may_use(model.name) or model.name.endswith("*"):
            continue
        for place in model.deployments:
            names = known.setdefault(hosted_as(place.model), []) if place.provider == LOCAL else []
            if model.name not in names:
                names.append(model.name)
    return known


def _entry_as(entry: oip.IndexEntry, name: str) -> oip.IndexEntry:
    return msgspec.structs.replace(entry, name=name, reason=renamed_error(entry.reason, entry.name, name))


def _renamed(body: bytes, names: dict[str, str]) -> bytes:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed("the model host's answer is not JSON") from error
    return oip.encode_json(renamed_description(found, lambda hosted: names.get(hosted, hosted)))


def _check(answer: OipAnswer) -> None:
    if answer.status != OK:
        raise model_error(answer, "", "")
