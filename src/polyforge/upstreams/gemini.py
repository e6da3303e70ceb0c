"""Calls in Gemini's dialect, as the Gemini API and Vertex AI take them."""

from polyforge.dialects.gemini.embeddings import read_batch, read_predict, write_batch, write_predict
from polyforge.dialects.gemini.replies import read_reply
from polyforge.dialects.gemini.requests import write_chat
from polyforge.dialects.gemini.streams import EventReader
from polyforge.dialects.gemini.tool_names import ToolNames
from polyforge.dialects.vectors import texts_of
from polyforge.kernel.errors import Unsupported
from polyforge.kernel.tasks import EmbeddingResult
from polyforge.ports.provider import Call, Reply
from polyforge.upstreams.calls import StreamReader
from polyforge.upstreams.streams import CanonicalStream


class GeminiChat:
    """A chat. `call_ids`: whether the server takes ids of calls."""

    def __init__(self, call: Call, *, call_ids: bool) -> None:
        if call.chat is None:
            raise Unsupported("this provider does not speak the dialect of the request")
        self._names = ToolNames(call.chat.tools)
        self.method = "streamGenerateContent?alt=sse" if call.request.stream else "generateContent"
        self.body = write_chat(call.chat, model=call.model, names=self._names, call_ids=call_ids)

    def read(self, body: bytes) -> Reply:
        """A whole answer; UpstreamFailed when it is none."""
        result = read_reply(body, self._names)
        return Reply(usage=result.usage, result=result, finish=result.choices[0].finish)

    def reader(self) -> StreamReader:
        """What reads a streamed one."""
        return CanonicalStream(EventReader(self._names))


class GeminiEmbeddings:
    """Embeddings of several texts at the Gemini API; `name` is the model's with its collection."""

    method = "batchEmbedContents"

    def __init__(self, call: Call, name: str) -> None:
        self._texts = texts_of(call.request)
        self.body = write_batch(self._texts, model=name, dimensions=call.request.dimensions)

    def read(self, body: bytes) -> Reply:
        """One vector for each text; UpstreamFailed when the answer is another."""
        return _reply(read_batch(body, self._texts))

    def reader(self) -> StreamReader:
        """Refused: vectors do not stream."""
        raise Unsupported("embeddings cannot be streamed; leave `stream` out", param="stream")


class VertexEmbeddings:
    """Embeddings of several texts at Vertex AI."""

    method = "predict"

    def __init__(self, call: Call) -> None:
        self._texts = texts_of(call.request)
        self.body = write_predict(self._texts, dimensions=call.request.dimensions)

    def read(self, body: bytes) -> Reply:
        """One vector for each text; UpstreamFailed when the answer is another."""
        return _reply(read_predict(body, self._texts))

    def reader(self) -> StreamReader:
        """Refused: vectors do not stream."""
        raise Unsupported("embeddings cannot be streamed; leave `stream` out", param="stream")


def _reply(result: EmbeddingResult) -> Reply:
    return Reply(usage=result.usage, result=result)
