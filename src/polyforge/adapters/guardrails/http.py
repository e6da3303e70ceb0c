"""A guardrail of one's own, asked over HTTP.

`POST {"stage": "input", "model": ..., "project": ..., "texts": [{"text", "part", "role"}]}` is answered with
`{"action": "allow"}`, `{"action": "block", "kinds": [...]}` or `{"action": "mask", "kinds": [...], "texts": [...]}`,
in which there are as many texts as were sent.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyforge.egress.delivery import deliver
from polyforge.egress.http import HttpClient
from polyforge.ports.guardrail import About, Action, Outcome, Part, Passage, Stage
from polyforge.ports.secret_source import SecretSource
from polyforge.secrets.following import FollowedSecrets
from polyforge.secrets.references import SecretRef

_OK: Final = 200
_ANSWER_BYTES: Final = 16 * 1024 * 1024
_MOST_KINDS: Final = 20
_KIND: Final = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
"""What a kind may be called: callers are told of it, so it must not be able to say what was found."""
_CONNECTIONS: Final = 100


class Settings(BaseModel):
    """The service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="What texts are posted to.")
    token: SecretRef | None = Field(default=None, description="Sent as `Authorization: Bearer`.")
    answer_seconds: float = Field(default=3.0, gt=0, le=60, description="How long it may take to answer.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be an http or https URL, without a user in it")
        return url


class _Answer(msgspec.Struct):
    action: Literal["allow", "block", "mask"]
    kinds: list[str] = []
    texts: list[str] | None = None


_read: Final = msgspec.json.Decoder(_Answer).decode
_encode: Final = msgspec.json.Encoder().encode


class HttpGuardrail:
    """Asks the service about whole requests and whole answers."""

    def __init__(self, settings: Settings, action: Action) -> None:
        if action not in ("block", "mask", "flag"):
            raise ValueError("a service can block, mask or flag; it knows no stand-ins")
        self._settings = settings
        self._action: Action = action
        parts = urlsplit(settings.url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._http = HttpClient(
            f"{parts.scheme}://{parts.netloc}",
            {"content-type": "application/json"},
            settings.answer_seconds,
            _CONNECTIONS,
        )
        self._secrets = FollowedSecrets(settings.token)

    async def open(self, secrets: SecretSource) -> None:
        """Follow the token, where it is one of `secrets`; connections are made when they are needed."""
        self._secrets.open(secrets)

    async def close(self) -> None:
        """Let go of connections."""
        self._secrets.close()
        await self._http.close()

    def begin(self, about: About) -> "HttpSession":
        """A session."""
        return HttpSession(self, about)

    async def judge(self, stage: Stage, about: About, passages: Sequence[Passage]) -> Outcome:
        """What the service says; Unavailable or ValueError when it says nothing that is understood."""
        token = self._settings.token
        headers = {} if token is None else {"authorization": f"Bearer {self._secrets.reveal(token)}"}
        asked = {"stage": stage, "model": about.model, "project": about.project_id, "texts": passages}
        call = self._http.post(self._path, _encode(asked), headers)
        said = await deliver(call, self._settings.answer_seconds, _ANSWER_BYTES)
        if said.status != _OK:
            raise ValueError(f"the service answered {said.status}")
        return self._outcome(_read(said.body), len(passages))

    def _outcome(self, answer: _Answer, count: int) -> Outcome:
        if answer.action == "allow":
            return Outcome()
        if answer.action == "mask" and (answer.texts is None or len(answer.texts) != count):
            raise ValueError("the service masked another number of texts")
        kinds = tuple(kind for kind in answer.kinds[:_MOST_KINDS] if _KIND.fullmatch(kind)) or ("http",)
        if self._action == "flag":
            return Outcome(kinds, len(kinds))
        blocked = answer.action == "block" or self._action == "block"
        return Outcome(kinds, len(kinds), blocked, None if blocked else answer.texts)


class HttpSession:
    """One call."""

    def __init__(self, guardrail: HttpGuardrail, about: About) -> None:
        self._guardrail = guardrail
        self._about = about

    async def check(self, stage: Stage, passages: Sequence[Passage]) -> Outcome:
        """Ask."""
        return await self._guardrail.judge(stage, self._about, passages)

    def filter(self, part: Part) -> None:
        """The service is asked about whole answers only."""


ADAPTER = HttpGuardrail
