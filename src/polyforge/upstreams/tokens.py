"""Access tokens of OAuth 2: fetched for a secret, kept, and renewed beside the calls before they expire."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from polyforge.egress.deadlines import Deadline
from polyforge.egress.http import HttpClient
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import NotConfigured, PolyforgeError, SettingsError, UpstreamDenied, UpstreamFailed
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.secrets.references import SecretRef
from polyforge.telemetry.logs import get_logger

_PATIENCE_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 30.0
"""How long to leave a token endpoint alone that failed while the token at hand is still good."""
_MARGIN_SECONDS: Final = 30.0
"""How long before its end a token counts as expired: a call takes its time, and clocks differ."""
_RENEWED_AT: Final = 0.75
"""After which share of its life a token is renewed."""
_LONGEST_SECONDS: Final = 86_400.0
_YOUNG_SECONDS: Final = 60.0
"""How long a token that is refused is not fetched anew: another would be refused too."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_ANSWER_BYTES: Final = 64 * 1024
_CONNECTIONS: Final = 2
_OK: Final = 200
_NEVER: Final = float("-inf")
_log = get_logger(__name__)


class Grant(Protocol):
    """What is shown for a token."""

    def form(self, secret: str, now: float) -> Mapping[str, str]:
        """The form to post, `now` being the time; ValueError, without the secret in it, for one of another kind."""
        ...


class ClientCredentials:
    """An application that shows its own secret (RFC 6749 section 4.4)."""

    def __init__(self, client_id: str, scope: str) -> None:
        self._client_id = client_id
        self._scope = scope

    def form(self, secret: str, now: float) -> Mapping[str, str]:
        """The secret itself, in the form."""
        return {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": secret,
            "scope": self._scope,
        }


class _Answered(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0


class _Refused(msgspec.Struct):
    error: str = ""


_answered: Final = msgspec.json.Decoder(_Answered)
_refused: Final = msgspec.json.Decoder(_Refused)


class AccessTokens:
    """The token of one account at one token endpoint. However many calls wait for it, it is fetched once.

    SettingsError for a secret that lies in the settings and is none of the grant's kind.
    """

    def __init__(self, url: str, secret: SecretRef, grant: Grant, clock: Clock, connect_timeout: float) -> None:
        parts = urlsplit(url)
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        self._http = HttpClient(f"{parts.scheme}://{parts.netloc}", headers, connect_timeout, _CONNECTIONS)
        self._path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        self._secret = secret
        self._grant = grant
        self._clock = clock
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._token = ""
        self._expires_at = _NEVER
        self._renew_at = _NEVER
        self._fetched_at = _NEVER
        self._forgotten = 0
        if secret.name is None:
            self._form()

    def open(self, secrets: SecretSource) -> None:
        """Follow the secret, where it is one of `secrets`."""
        if self._secret.name is not None:
            self._secrets = secrets
            self._unwatch = secrets.watch(self._secret.name, self.forget)

    async def close(self) -> None:
        """Stop what is under way and let go of connections."""
        if self._unwatch is not None:
            self._unwatch()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._http.close()

    def forget(self) -> None:
        """Fetch another token before the next call: the secret has changed."""
        self._expires_at = self._renew_at = _NEVER
        self._forgotten += 1

    def refused(self) -> None:
        """The token was not taken: fetch another before the next call, unless it is new."""
        if self._clock.monotonic() - self._fetched_at >= _YOUNG_SECONDS:
            self.forget()

    async def token(self) -> str:
        """A token that is good for a while.

        NotConfigured while the secret is missing or no good, UpstreamDenied when the endpoint does not take it, other
        errors of an upstream when it cannot be asked.
        """
        while self._clock.monotonic() >= self._expires_at:
            await asyncio.shield(self._renewing())
        if self._clock.monotonic() >= self._renew_at:
            self._renewing()
        return self._token

    def _renewing(self) -> asyncio.Task[None]:
        """The renewal under way; begun when there is none."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
            self._renewal.add_done_callback(self._note)
        return self._renewal

    def _note(self, renewal: asyncio.Task[None]) -> None:
        """A renewal that failed is tried again later as long as the token at hand is good; else by the next call."""
        error = None if renewal.cancelled() else renewal.exception()
        if error is not None:
            self._renew_at = self._clock.monotonic() + _RETRY_SECONDS
            _log.warning("an access token could not be renewed", endpoint=self._path, error=str(error))

    async def _renew(self) -> None:
        forgotten = self._forgotten
        body = urlencode(self._form()).encode()
        with Deadline(Deadline.now() + _PATIENCE_SECONDS, "the token endpoint did not answer in time"):
            found = await self._ask(body)
        if forgotten == self._forgotten:
            self._keep(found)

    def _form(self) -> Mapping[str, str]:
        """What to show. Without the cause of a failure, which may hold the secret."""
        try:
            return self._grant.form(self._secret.reveal(self._secrets), self._clock.now())
        except ValueError as error:
            message = f"{self._secret} cannot be used: {error}"
        if self._secret.name is None:
            raise SettingsError(message)
        raise NotConfigured(message)

    async def _ask(self, body: bytes) -> _Answered:
        answer = self._http.post(self._path, body, {})
        try:
            await answer.open()
            content = await answer.body(_ANSWER_BYTES)
        finally:
            await answer.close()
        if answer.status != _OK:
            raise _refusal(answer.status, content)
        try:
            found = _answered.decode(content)
        except (ValueError, RecursionError):
            found = None
        if found is None or not _TOKEN.fullmatch(found.access_token):
            raise UpstreamFailed("the token endpoint answered without a token")
        return found

    def _keep(self, found: _Answered) -> None:
        now, life = self._clock.monotonic(), max(0.0, min(_LONGEST_SECONDS, found.expires_in))
        margin = min(_MARGIN_SECONDS, life / 2)
        self._token = found.access_token
        self._fetched_at = now
        self._expires_at = now + max(1.0, life - margin)
        self._renew_at = now + max(1.0, min(life * _RENEWED_AT, life - margin))


def _refusal(status: int, content: bytes) -> PolyforgeError:
    """What a status other than 200 means (RFC 6749 section 5.2)."""
    try:
        said = _refused.decode(content).error[:100]
    except (ValueError, RecursionError):
        said = ""
    if status in (400, 401, 403):
        return UpstreamDenied(f"the token endpoint refused our credentials{f' ({said})' if said else ''}")
    return UpstreamFailed(f"the token endpoint answered {status}")
