"""GET /v1/models and /v1/models/{model}: what a caller may use."""

from polyforge.dialects import anthropic_models
from polyforge.dialects.openai_models import ModelObject, encode_model, encode_models
from polyforge.gateway.lineup import Lineups
from polyforge.kernel.errors import ModelNotFound
from polyforge.registry.catalog import Model
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.policy import authorize

PATH = "/v1/models"


class Models:
    """The catalog as OpenAI's and Anthropic's clients read it."""

    def __init__(self, lineups: Lineups, started_at: float) -> None:
        self._lineups = lineups
        self._created = int(started_at)

    def answer(self, path: str, caller: Caller, *, anthropic: bool = False) -> bytes:
        """The body for one of the two paths, as OpenAI or Anthropic writes it.

        ModelNotFound for a model that is absent or hidden from the caller.
        """
        authorize(caller, "models:read")
        name = path.removeprefix(PATH).strip("/")
        if name:
            model = self._find(name, caller)
            return (
                anthropic_models.encode_model(self._info(model)) if anthropic else encode_model(self._describe(model))
            )
        models = self._lineups.current.catalog.listed(caller.project_id)
        listed = [model for model in models if caller.may_use(model.name)]
        if anthropic:
            return anthropic_models.encode_models([self._info(model) for model in listed])
        return encode_models([self._describe(model) for model in listed])

    def _find(self, name: str, caller: Caller) -> Model:
        if not caller.may_use(name):
            raise ModelNotFound(f"there is no model {name!r}; GET /v1/models lists those you may use", param="model")
        return self._lineups.current.catalog.find(name, caller.project_id)

    def _info(self, model: Model) -> anthropic_models.ModelInfo:
        return anthropic_models.model_info(model.name, self._created)

    def _describe(self, model: Model) -> ModelObject:
        return ModelObject(id=model.name, created=self._created, owned_by=model.deployments[0].provider)
