"""Vertex AI as a scripted server: Gemini's and Anthropic's formats at other addresses, and a token endpoint.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest and RFC 7523.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.behaviours import Behaviour, vector_of
from tests.support.scripted.anthropic import Anthropic
from tests.support.scripted.gemini import Gemini, answered
from tests.support.scripted.scenarios import Failure, Played, ScriptedProvider, Seen
from tests.support.scripted.server import Playing, ScriptedServer
from tests.support.upstream import Received, Upstream

EMAIL: Final = "robot@scripted.iam.gserviceaccount.com"
KEY_ID: Final = "key-1"
TOKEN_PATH: Final = "/token"
TOKEN: Final = "ya29.scripted"
"""What every token that is given out begins with."""
_PARENT: Final = "/v1/projects/scripted/locations/europe-west4/publishers/"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_HOUR: Final = 3600


@cache
def account_key() -> RSAPrivateKey:
    """The service account's key, made once."""
    return generate_private_key(public_exponent=65_537, key_size=2048)


def key_file(**changes: str) -> str:
    """The key file that Google gives out."""
    pem = account_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    fields = {
        "type": "service_account",
        "project_id": "scripted",
        "private_key_id": KEY_ID,
        "private_key": pem,
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": "http://127.0.0.1:9/nowhere",
    }
    return json.dumps(fields | changes)


def project(url: str) -> dict[str, Any]:
    """What every provider on Vertex AI is told."""
    return {
        "project": "scripted",
        "location": "europe-west4",
        "credentials": key_file(),
        "token_url": url + TOKEN_PATH,
        "base_url": url,
    }


def _denied() -> Played:
    message = "Request had invalid authentication credentials."
    return answered({"error": {"code": 401, "message": message, "status": "UNAUTHENTICATED"}}, 401)


class Vertex(Gemini):
    """Google's models; calls have no ids."""

    name = "vertex"
    keeps_ids = False

    def settings(self, url: str) -> dict[str, Any]:
        """With a service account."""
        return {"use": "vertex", **project(url)}

    def failure(self, failure: Failure) -> Played:
        """A google.rpc.Status."""
        return _denied() if failure == "denied" else super().failure(failure)


class VertexAnthropic(Anthropic):
    """Anthropic's models."""

    name = "vertex_anthropic"

    def settings(self, url: str) -> dict[str, Any]:
        """With a service account."""
        return {"use": "vertex_anthropic", **project(url)}

    def failure(self, failure: Failure) -> Played:
        """Anthropic's envelope, or Google's where Google's servers refuse."""
        return _denied() if failure == "denied" else super().failure(failure)

    def is_stream(self, path: str, body: Mapping[str, Any]) -> bool:
        """The address says it, and so must the body."""
        stream = path.endswith(":streamRawPredict")
        assert bool(body.get("stream")) is stream
        return stream

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        """The address says it."""
        return unquote(urlsplit(path).path).rpartition("/")[2].partition(":")[0]

    def read(self, path: str, body: Mapping[str, Any]) -> Seen:
        """Out of a Messages request whose model is in the address and whose version is in the body."""
        assert body["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in body
        return super().read(path, body)


class VertexServer(ScriptedServer):
    """Gives out tokens to whom signs for them, and takes only the last one."""

    def __init__(self, provider: ScriptedProvider) -> None:
        super().__init__(provider)
        self.issued: list[str] = []
        self.grant: Played | None = None
        """What the token endpoint answers instead of a token."""
        self.audience: str | None = None
        """For whom statements have to be; default: the token endpoint."""

    def note(self, request: Received) -> Behaviour:
        """Write down what is asked; the answer follows from the path, and the model."""
        if request.path == TOKEN_PATH:
            Upstream.note(self, request)
            return Playing(self.grant or self._issue(request))
        if not self.issued or request.headers.get("authorization") != f"Bearer {self.issued[-1]}":
            Upstream.note(self, request)
            return Playing(_denied())
        if request.path.startswith("/v1beta1/publishers/"):
            Upstream.note(self, request)
            return Playing(_models_answer(request))
        assert request.path.startswith(_PARENT), request.path
        if request.path.endswith(":predict"):
            Upstream.note(self, request)
            return Playing(_vectors_answer(request.json))
        return super().note(request)

    def _issue(self, request: Received) -> Played:
        """A token for a statement that the account signed, for this endpoint, of at most an hour."""
        form = parse_qs(request.body.decode())
        if form["grant_type"] != [_GRANT] or not self._is_signed(form["assertion"][0]):
            return answered({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        self.issued.append(f"{TOKEN}-{len(self.issued)}")
        return answered({"access_token": self.issued[-1], "expires_in": _HOUR, "token_type": "Bearer"})

    def _is_signed(self, statement: str) -> bool:
        try:
            claims = jwt.decode(
                statement,
                account_key().public_key(),
                algorithms=["RS256"],
                audience=self.audience or self.origin + TOKEN_PATH,
                issuer=EMAIL,
                leeway=2 * _HOUR,
            )
        except jwt.PyJWTError:
            return False
        is_ours = jwt.get_unverified_header(statement)["kid"] == KEY_ID and claims["scope"] == _SCOPE
        return is_ours and claims["exp"] - claims["iat"] <= _HOUR


def _models_answer(request: Received) -> Played:
    assert request.headers["x-goog-user-project"] == "scripted"
    publisher = request.path.split("/")[3]
    return answered({"publisherModels": [{"name": f"publishers/{publisher}/models/one", "versionId": "1"}]})


def _vectors_answer(body: Mapping[str, Any]) -> Played:
    dimensions = body["parameters"].get("outputDimensionality", 4)
    found = [
        {"values": vector_of(one["content"], dimensions), "statistics": {"token_count": 5, "truncated": False}}
        for one in body["instances"]
    ]
    return answered({"predictions": [{"embeddings": one} for one in found], "metadata": {"billableCharacterCount": 1}})
