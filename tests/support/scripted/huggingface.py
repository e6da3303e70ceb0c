"""Hugging Face's router as a scripted server: OpenAI's chat, and errors in a form of its own.

Source: https://huggingface.co/docs/inference-providers.
"""

import json
from typing import Any, Final

from tests.support.scripted.openai import OpenAI
from tests.support.scripted.scenarios import Failure, Played

_WORDS: Final[dict[Failure, tuple[int, object]]] = {
    "quota": (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    "overloaded": (503, {"error": "Model is currently loading", "estimated_time": 7.0}),
    "denied": (401, {"error": "Invalid username or password."}),
    "server": (500, {"error": ["scripted server"], "warnings": []}),
}


class HuggingFace(OpenAI):
    """Chat completions at the router."""

    name = "huggingface"

    def settings(self, url: str) -> dict[str, Any]:
        """The router, with a token."""
        return {"use": "huggingface", "router": url, "api_key": "sk-scripted"}

    def failure(self, failure: Failure) -> Played:
        """OpenAI's where a provider behind the router refuses, a text where the router does."""
        if failure not in _WORDS:
            return super().failure(failure)
        status, body = _WORDS[failure]
        return Played(status, {"content-type": "application/json"}, (json.dumps(body).encode(),))
