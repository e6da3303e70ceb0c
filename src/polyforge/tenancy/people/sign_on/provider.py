"""One identity provider: its description, where to send people, and whom a code that comes back stands for."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Denied, UpstreamFailed
from polyforge.ports.secret_source import SecretSource, Stop
from polyforge.tenancy.people.sign_on.id_tokens import Expected, head_of, verify
from polyforge.tenancy.people.sign_on.provider_keys import KEY_TYPES, ProviderKeys
from polyforge.tenancy.people.sign_on.remote import Remote
from polyforge.tenancy.people.sign_on.settings import MAX_GROUP_LENGTH, IdentityProviderSettings

DESCRIPTION: Final = "/.well-known/openid-configuration"
MAX_GROUPS: Final = 1_000
_FRESH_SECONDS: Final = 3_600.0
_OK: Final = 200


class Description(msgspec.Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Identity(msgspec.Struct, frozen=True):
    """Whom a provider vouches for."""

    issuer: str
    subject: str
    email: str | None
    """Only one that the provider has verified."""
    name: str
    groups: tuple[str, ...]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str


class Provider:
    """A provider that the settings declare. `redirect_uri` is where it sends people back to."""

    def __init__(self, name: str, settings: IdentityProviderSettings, redirect_uri: str, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._secrets: SecretSource | None = None
        self._unwatch: Stop | None = None
        self._clock = clock
        self._remote = Remote(secure=settings.issuer.startswith("https:"))
        self._keys = ProviderKeys(self._fetch_keys, clock)
        self._known: Description | None = None
        self._known_until = float("-inf")

    async def open(self, secrets: SecretSource) -> None:
        """Know where secrets are kept, and follow the client's, if it is one that is kept there."""
        self._secrets = secrets
        if self.settings.client_secret is not None and self.settings.client_secret.name is not None:
            self._unwatch = secrets.watch(self.settings.client_secret.name, lambda: None)

    async def close(self) -> None:
        """Hang up, and follow the secret no more."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        await self._remote.close()

    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """Where to send somebody to sign in, with the challenge of `verifier` (RFC 7636, S256)."""
        described = await self._description()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(described.authorization_endpoint).query else "?"
        return f"{described.authorization_endpoint}{joint}{urlencode(query)}"

    async def check_sender(self, issuer: str | None) -> None:
        """UpstreamFailed when an answer says it is from another provider (RFC 9207), or ought to say and does not."""
        described = await self._description()
        if issuer is None and not described.authorization_response_iss_parameter_supported:
            return
        if issuer != self.settings.issuer:
            raise UpstreamFailed("the answer is from another identity provider than the one that was asked")

    async def identity(self, code: str, verifier: str, nonce: str) -> Identity:
        """Whom a code stands for; Denied when the provider does not take it, UpstreamFailed for a wrong answer."""
        described = await self._description()
        tokens = await self._redeem(described, code, verifier)
        claims = await self._verified(described, tokens.id_token, nonce)
        more: Mapping[str, Any] = {}
        if self._lacks_something(claims) and described.userinfo_endpoint is not None:
            more = await self._more(described.userinfo_endpoint, tokens.access_token, claims["sub"])
        return self._identity_of(claims, more)

    # The steps

    async def _description(self) -> Description:
        if self._known is not None and self._clock.monotonic() < self._known_until:
            return self._known
        body = await self._remote.get(self.settings.issuer.rstrip("/") + DESCRIPTION)
        try:
            found = msgspec.json.decode(body, type=Description)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("the identity provider's description cannot be read") from error
        if found.issuer != self.settings.issuer:
            raise UpstreamFailed("the identity provider describes itself as another issuer than the settings say")
        self._remote.check(found.authorization_endpoint)
        self._known, self._known_until = found, self._clock.monotonic() + _FRESH_SECONDS
        return found

    async def _fetch_keys(self) -> bytes:
        return await self._remote.get((await self._description()).jwks_uri)

    async def _redeem(self, described: Description, code: str, verifier: str) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = self._authenticate(described, form)
        status, body = await self._remote.post(described.token_endpoint, form, headers)
        if status != _OK:
            raise Denied(f"the identity provider did not take the code; it answered {status}")
        try:
            return msgspec.json.decode(body, type=_Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("the identity provider answered without tokens") from error

    def _authenticate(self, described: Description, form: dict[str, str]) -> dict[str, str]:
        """Say who we are: in the header, or in the form where the provider wants only that."""
        client_id, secret = self.settings.client_id, self.settings.client_secret
        if secret is None:
            form["client_id"] = client_id
            return {}
        value = secret.reveal(self._secrets)
        methods = described.token_endpoint_auth_methods_supported
        if "client_secret_basic" not in methods and "client_secret_post" in methods:
            form.update(client_id=client_id, client_secret=value)
            return {}
        pair = f"{quote_plus(client_id)}:{quote_plus(value)}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    async def _verified(self, described: Description, token: str, nonce: str) -> Mapping[str, Any]:
        head = head_of(token)
        if head.alg not in KEY_TYPES or head.alg not in described.id_token_signing_alg_values_supported:
            raise UpstreamFailed(f"the identity provider signed with {head.alg[:20]!r}, which is not taken")
        key = await self._keys.find(head.kid, head.alg)
        return verify(token, key, Expected(self.settings.issuer, self.settings.client_id, nonce, self._clock.now()))

    def _lacks_something(self, claims: Mapping[str, Any]) -> bool:
        wanted = ("email", "email_verified", self.settings.groups_claim)
        return any(name is not None and name not in claims for name in wanted)

    async def _more(self, endpoint: str, token: str, subject: str) -> dict[str, Any]:
        """The claims of the userinfo endpoint; UpstreamFailed when they are about somebody else (section 5.3.2)."""
        try:
            claims = msgspec.json.decode(await self._remote.get(endpoint, token), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("the identity provider's userinfo cannot be read") from error
        if claims.get("sub") != subject:
            raise UpstreamFailed("the identity provider's userinfo is about somebody else")
        return claims

    def _identity_of(self, claims: Mapping[str, Any], more: Mapping[str, Any]) -> Identity:
        # The address and the word on it come from one place: together they say something, apart they do not.
        source = claims if "email" in claims and "email_verified" in claims else more
        name = claims.get("name", more.get("name"))
        return Identity(
            issuer=self.settings.issuer,
            subject=claims["sub"],
            email=_verified_email(source),
            name=name if isinstance(name, str) else "",
            groups=self._groups(claims, more),
        )

    def _groups(self, claims: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[str, ...]:
        """The names in the claim that lists groups; what is no name is left out."""
        if self.settings.groups_claim is None:
            return ()
        claim: object = claims.get(self.settings.groups_claim, more.get(self.settings.groups_claim))
        listed = cast(list[object], claim) if isinstance(claim, list) else [claim]
        names = {name for name in listed[:MAX_GROUPS] if isinstance(name, str) and 0 < len(name) <= MAX_GROUP_LENGTH}
        return tuple(sorted(names))


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    email, verified = claims.get("email"), claims.get("email_verified")
    # Some providers say it as text.
    return email if isinstance(email, str) and (verified is True or verified == "true") else None
