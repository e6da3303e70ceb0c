"""Embeddings as scripted providers give them: the vector of a text is always the same, whatever the wire format."""

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any, Final

from tests.support.behaviours import vector_of
from tests.support.scripted.scenarios import Played

WIDTH: Final = 4
_JSON: Final = {"content-type": "application/json"}


def vectors_answer(path: str, body: Mapping[str, Any]) -> Played | None:
    """The answer to a request for embeddings of OpenAI's form, Bedrock's or Hugging Face's; None when it is none.

    Google's are in its own files.
    """
    if path.endswith("/pipeline/feature-extraction"):
        return _answered([vector_of(text, WIDTH) for text in body["inputs"]])
    if path.startswith("/model/") and path.endswith("/invoke"):
        return _answered(_of_bedrock(body))
    asks = "input" in body and "messages" not in body and not path.endswith("/responses")
    return _answered(_of_openai(body)) if asks else None


def _answered(content: object) -> Played:
    return Played(200, _JSON, (json.dumps(content).encode(),))


def _of_openai(body: Mapping[str, Any]) -> dict[str, Any]:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors: list[Any] = [vector_of(text, body.get("dimensions") or WIDTH) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(one)}f", *one)).decode() for one in vectors]
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(vectors)]
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    return {"object": "list", "data": data, "model": "scripted", "usage": usage}


def _of_bedrock(body: Mapping[str, Any]) -> dict[str, Any]:
    """Titan's, of one text, or Cohere's."""
    if "inputText" in body:
        return {"embedding": vector_of(body["inputText"], body.get("dimensions") or WIDTH), "inputTextTokenCount": 3}
    return {"embeddings": {"float": [vector_of(text, WIDTH) for text in body["texts"]]}, "id": "x"}
