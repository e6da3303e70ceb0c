"""What identity providers say, and what is believed of it: honest ones, hostile ones, and ones that are broken."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from polyforge.kernel.clock import SystemClock
from polyforge.kernel.errors import Denied, NotConfigured, PolyforgeError, TimedOut, Unavailable, UpstreamFailed
from polyforge.tenancy.people.sign_on.provider import Identity, Provider
from polyforge.tenancy.people.sign_on.settings import IdentityProviderSettings
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, SigningKey
from tests.support.vault import Secrets

KEY, OTHER_KEY, WEAK_KEY = SigningKey("first"), SigningKey("second"), SigningKey("weak", bits=1_024)
ADA: dict[str, Any] = {"sub": "ada-1", "email": "ada@example.org", "email_verified": True, "groups": ["devs"]}
DESCRIPTION = "/.well-known/openid-configuration"
VERIFIER, NONCE = "v" * 43, "n" * 43


class MovableClock(SystemClock):
    """The machine's clock, some seconds ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:  # type: ignore[override]
        return time.time() + self.ahead

    def monotonic(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.ahead


class Ours:
    """Our side of a provider."""

    def __init__(self, theirs: IdentityProvider, client_secret: str = CLIENT_SECRET) -> None:
        self.theirs = theirs
        self.clock = MovableClock()
        settings = IdentityProviderSettings.model_validate(
            {
                "issuer": theirs.issuer,
                "client_id": CLIENT_ID,
                "client_secret": client_secret,
                "groups_claim": "groups",
            }
        )
        self.provider = Provider("corp", settings, "http://polyforge.test/callback", self.clock)

    async def sign_in(self) -> Identity:
        """There and back."""
        back = self.theirs.visit(await self.provider.address("a state", NONCE, VERIFIER))
        return await self.provider.identity(back["code"], VERIFIER, NONCE)

    async def refused(self, error: type[PolyforgeError] = UpstreamFailed) -> None:
        with pytest.raises(error):
            await self.sign_in()


@pytest.fixture
def theirs() -> Iterator[IdentityProvider]:
    with IdentityProvider(KEY) as started:
        started.person = dict(ADA)
        yield started


@pytest.fixture
async def ours(theirs: IdentityProvider) -> AsyncIterator[Ours]:
    made = Ours(theirs)
    yield made
    await made.provider.close()


async def test_an_honest_provider_is_believed(ours: Ours) -> None:
    assert await ours.sign_in() == Identity(ours.theirs.issuer, "ada-1", "ada@example.org", "", ("devs",))
    assert ours.theirs.calls == [DESCRIPTION, "/token", "/keys"]
    await ours.sign_in()
    assert ours.theirs.calls[3:] == ["/token"]


async def test_the_client_secret_may_be_one_of_the_database(theirs: IdentityProvider) -> None:
    ours, secrets = Ours(theirs, "secret:corp"), Secrets()
    await ours.provider.open(secrets)
    assert [name for name, _ in secrets.watchers] == ["corp"]
    await ours.refused(NotConfigured)
    secrets.put("corp", "wrong")
    await ours.refused(Denied)
    secrets.put("corp", CLIENT_SECRET)
    assert (await ours.sign_in()).subject == "ada-1"
    await ours.provider.close()
    assert secrets.watchers == []


# --- where claims come from ---


async def test_claims_that_the_token_lacks_come_from_userinfo(ours: Ours) -> None:
    ours.theirs.person = {"sub": "ada-1", "name": "Ada"}
    ours.theirs.userinfo = {**ADA, "email_verified": "true", "name": "another"}
    assert await ours.sign_in() == Identity(ours.theirs.issuer, "ada-1", "ada@example.org", "Ada", ("devs",))


async def test_userinfo_about_somebody_else_is_not_believed(ours: Ours) -> None:
    ours.theirs.person = {"sub": "ada-1"}
    ours.theirs.userinfo = {**ADA, "sub": "eve"}
    await ours.refused()


async def test_a_word_on_one_address_is_no_word_on_another(ours: Ours) -> None:
    ours.theirs.person = {"sub": "eve", "email": "root@example.org", "groups": []}
    ours.theirs.userinfo = {"sub": "eve", "email": "eve@example.org", "email_verified": True}
    assert (await ours.sign_in()).email == "eve@example.org"


@pytest.mark.parametrize("word", [False, None, "false", 1, "yes", []])
async def test_an_address_counts_once_it_is_verified(ours: Ours, word: object) -> None:
    ours.theirs.person["email_verified"] = word
    assert (await ours.sign_in()).email is None


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        ("one", ("one",)),
        (["b", "a", "a"], ("a", "b")),
        ([7, None, "", "x" * 161, "ok"], ("ok",)),
        ({"a": 1}, ()),
        (7, ()),
    ],
)
async def test_groups_are_names(ours: Ours, claim: object, groups: tuple[str, ...]) -> None:
    ours.theirs.person["groups"] = claim
    assert (await ours.sign_in()).groups == groups


# --- the token ---


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    return f"{encoded(json.dumps({'alg': 'none', 'kid': 'first'}).encode())}.{encoded(json.dumps(claims).encode())}."


def confused(claims: dict[str, Any]) -> str:
    """HMAC under the public key."""
    pem = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "kid": "first"}
    message = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{message}.{encoded(hmac.digest(pem, message.encode(), 'sha256'))}"


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


def having(**changes: Callable[[int], Any] | Any) -> Callable[[dict[str, Any]], str]:
    """An otherwise honest token; what is called is given the time."""

    def forge(claims: dict[str, Any]) -> str:
        made = {name: value(claims["iat"]) if callable(value) else value for name, value in changes.items()}
        return KEY.sign({**claims, **made})

    return forge


FORGERIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "none": unsigned,
    "algorithm confusion": confused,
    "another key under its id": lambda claims: OTHER_KEY.sign(claims, kid="first"),
    "another algorithm": lambda claims: jwt.encode(claims, KEY.private, "RS512", {"kid": "first"}),
    "an unpublished key": OTHER_KEY.sign,
    "a key of its own": lambda claims: OTHER_KEY.sign(claims, jwk=OTHER_KEY.jwk(), jku="https://evil.test/keys"),
    "a critical extension": lambda claims: KEY.sign(claims, crit=["b64"], b64=True),
    "issuer": having(iss="https://evil.test"),
    "audience": having(aud="another"),
    "one of many audiences": having(aud=[CLIENT_ID, "another"]),
    "authorized party": having(azp="another"),
    "nonce": having(nonce="replayed"),
    "no nonce": lambda claims: KEY.sign(without(claims, "nonce")),
    "expired": having(exp=lambda now: now - 31),
    "no expiry": lambda claims: KEY.sign(without(claims, "exp")),
    "old": having(iat=lambda now: now - 700),
    "of the future": having(iat=lambda now: now + 90),
    "not yet": having(nbf=lambda now: now + 90),
    "no subject": lambda claims: KEY.sign(without(claims, "sub")),
    "a long subject": having(sub="x" * 256),
    "no token": lambda claims: "x.y.z",
    "a long token": having(more="x" * 70_000),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_token_that_is_not_right_in_everything_is_refused(ours: Ours, forgery: str) -> None:
    ours.theirs.forge = FORGERIES[forgery]
    await ours.refused()


async def test_an_honest_token_for_many_names_us_as_its_party(ours: Ours) -> None:
    ours.theirs.forge = having(aud=["another", CLIENT_ID], azp=CLIENT_ID)
    assert (await ours.sign_in()).subject == "ada-1"


async def test_a_code_needs_its_verifier_and_works_once(ours: Ours) -> None:
    back = ours.theirs.visit(await ours.provider.address("a state", NONCE, VERIFIER))
    with pytest.raises(Denied):
        await ours.provider.identity(back["code"], "w" * 43, NONCE)
    with pytest.raises(Denied):
        await ours.provider.identity(back["code"], VERIFIER, NONCE)


# --- keys and their rotation ---


@pytest.mark.parametrize(
    "keys",
    [
        [KEY.jwk(use="enc")],
        [KEY.jwk(alg="RS512")],
        [{"kty": "oct", "kid": "first", "k": "c2VjcmV0", "alg": "HS256"}],
        [{"kty": "RSA", "kid": "first", "n": "!", "e": "AQAB"}],
        [{"kty": "EC", "crv": "P-256", "kid": "first", "x": "AA", "y": "AA"}],
        [],
    ],
)
async def test_keys_that_are_not_for_this_are_not_used(ours: Ours, keys: list[dict[str, Any]]) -> None:
    ours.theirs.keys = keys
    await ours.refused()


async def test_a_key_that_is_too_short_is_not_used(ours: Ours) -> None:
    ours.theirs.keys, ours.theirs.key = [WEAK_KEY.jwk()], WEAK_KEY
    await ours.refused()


async def test_a_token_without_a_key_id_is_of_the_only_key(ours: Ours) -> None:
    ours.theirs.forge = lambda claims: jwt.encode(claims, KEY.private, "RS256")
    await ours.sign_in()
    ours.theirs.keys.append(OTHER_KEY.jwk())
    ours.clock.ahead = 3_700
    ours.theirs.forge = lambda claims: jwt.encode(later(claims, 3_700), KEY.private, "RS256")
    await ours.refused()


def later(claims: dict[str, Any], seconds: int) -> dict[str, Any]:
    return {**claims, "iat": claims["iat"] + seconds, "exp": claims["exp"] + seconds}


async def test_a_new_key_is_followed_and_an_old_one_is_over(ours: Ours) -> None:
    await ours.sign_in()
    ours.theirs.key, ours.theirs.keys = OTHER_KEY, [OTHER_KEY.jwk()]
    await ours.refused()  # the keys were asked for a moment ago
    ours.clock.ahead = 61
    ours.theirs.forge = lambda claims: OTHER_KEY.sign(later(claims, 61))
    await ours.sign_in()
    ours.theirs.forge = lambda claims: KEY.sign(later(claims, 61))
    await ours.refused()


async def test_unknown_keys_have_us_ask_once_a_minute(ours: Ours) -> None:
    await ours.sign_in()
    ours.theirs.forge = OTHER_KEY.sign
    for _ in range(5):
        await ours.refused()
    assert ours.theirs.calls.count("/keys") == 1


@pytest.mark.parametrize("answer", [(500, b""), (200, b"no keys"), (200, b'{"keys":[]}'), (200, b"x" * 300_000)])
async def test_a_bad_answer_does_not_replace_good_keys(ours: Ours, answer: tuple[int, bytes]) -> None:
    await ours.sign_in()
    ours.theirs.answers["/keys"] = answer
    ours.clock.ahead = 3_700
    ours.theirs.forge = lambda claims: KEY.sign(later(claims, 3_700))
    await ours.sign_in()
    assert ours.theirs.calls.count("/keys") == 2


# --- servers that are slow, huge or something else ---


@pytest.mark.parametrize("path", [DESCRIPTION, "/token", "/keys"])
@pytest.mark.parametrize("answer", [(200, b"x" * 300_000), (500, b"{}"), (302, b""), (200, b"[]"), (200, b"\xff")])
async def test_a_provider_that_answers_nonsense_signs_nobody_in(
    ours: Ours, path: str, answer: tuple[int, bytes]
) -> None:
    ours.theirs.answers[path] = answer
    await ours.refused(Denied if path == "/token" and answer[0] != 200 else UpstreamFailed)


@pytest.mark.parametrize("path", [DESCRIPTION, "/token", "/keys"])
async def test_a_provider_that_does_not_answer_is_given_up(
    ours: Ours, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyforge.tenancy.people.sign_on.remote.PATIENCE_SECONDS", 0.2)
    ours.theirs.delay[path] = 1.0
    await ours.refused(TimedOut)


async def test_a_provider_that_is_down_is_unavailable(ours: Ours) -> None:
    ours.theirs.__exit__()
    await ours.refused(Unavailable)


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://evil.test"},
        {"issuer": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https:///x"},
        {"authorization_endpoint": 7},
        {"token_endpoint": None},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        *(
            {"jwks_uri": address}
            for address in ("file:///etc/passwd", "ftp://x/", "http://", "http://a:b/", "http://a b/", "http://x/\r\na")
        ),
    ],
)
async def test_a_description_that_is_wrong_signs_nobody_in(ours: Ours, described: dict[str, Any]) -> None:
    ours.theirs.described = described
    await ours.refused()


async def test_a_provider_over_https_declares_nothing_without(theirs: IdentityProvider) -> None:
    ours = Ours(theirs)
    secure = theirs.issuer.replace("http:", "https:")
    settings = IdentityProviderSettings(issuer=secure, client_id=CLIENT_ID)
    ours.provider = Provider("corp", settings, "http://polyforge.test/callback", ours.clock)
    with pytest.raises(UpstreamFailed):
        ours.provider._remote.check(f"{theirs.issuer}/keys")


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "corp.example"},
        {"issuer": "https://corp.example?x"},
        {"scopes": ["email"]},
        {"allowed_domains": ["@example.org"]},
        {"organization": "acme"},
        {"roles": {"": "admin"}},
        {"client_id": ""},
        {"more": 1},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    good = {"issuer": "https://corp.example", "client_id": "x"}
    IdentityProviderSettings.model_validate(good)
    with pytest.raises(ValidationError):
        IdentityProviderSettings.model_validate({**good, **wrong})
