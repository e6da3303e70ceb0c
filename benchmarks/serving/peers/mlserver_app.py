"""MLServer's custom runtime with adaptive batching; settings.json and model-settings.json are written beside it."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.engine import add_one, encoder


class Embed(MLModel):
    async def load(self) -> bool:
        self._encode = encoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        vectors = self._encode(StringCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("embedding", vectors)])


class Add(MLModel):
    async def load(self) -> bool:
        self._add = add_one()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self._add(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", rows)])
