"""What is, and what is not, an access token of ours: each way to forge one, and each claim."""

import base64
import hmac
import json
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from polyforge.kernel.errors import SettingsError, Unauthenticated
from polyforge.tenancy.keys import check_admin_key
from polyforge.tenancy.people.tokens.access import MAX_TOKEN_BYTES, TTL_SECONDS, Claims, kid_of, sign, verify

NOW = 1_700_000_000
ISSUER = "https://polyforge.test"
KID = "01HF000000000000000000000K"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CLAIMS = Claims(
    iss=ISSUER,
    aud=ISSUER,
    sub="01HF000000000000000000000S",
    client_id="polyforge",
    iat=NOW,
    nbf=NOW,
    exp=NOW + TTL_SECONDS,
    jti="01HF000000000000000000000J",
    kind="user",
    project="00000000000000000000000002",
)
PAYLOAD = msgspec.to_builtins(CLAIMS)


def check(token: str | bytes, now: float = NOW) -> Claims:
    return verify(token.encode() if isinstance(token, str) else token, KEY.public_key(), ISSUER, now)


def forged(header: dict[str, Any], payload: dict[str, Any] = PAYLOAD, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def signed(payload: dict[str, Any], **header: Any) -> str:
    return jwt.encode(payload, KEY, "EdDSA", {"typ": "at+jwt", "kid": KID, **header})


def test_a_token_says_what_was_signed() -> None:
    token = sign(CLAIMS, KID, KEY)
    assert kid_of(token.encode()) == KID
    assert check(token) == CLAIMS
    assert jwt.decode(token, KEY.public_key(), ["EdDSA"], audience=ISSUER, options={"verify_exp": False}) == PAYLOAD
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": KID}


def test_narrowed_and_bound_tokens_keep_it() -> None:
    claims = msgspec.structs.replace(CLAIMS, family="01HF000000000000000000000F", scope="inference")
    assert check(sign(claims, KID, KEY)) == claims


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    with pytest.raises(Unauthenticated):
        check(forged({"alg": algorithm, "typ": "at+jwt", "kid": KID}))


def test_the_public_key_is_no_shared_secret() -> None:
    """Algorithm confusion: HMAC under what everybody may read."""
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (raw, pem):
        head = {"alg": "HS256", "typ": "at+jwt", "kid": KID}
        message = forged(head).rpartition(".")[0].encode()
        token = forged(head, signature=hmac.digest(secret, message, "sha256"))
        with pytest.raises(Unauthenticated):
            check(token)


def test_other_asymmetric_algorithms_are_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    with pytest.raises(Unauthenticated):
        check(jwt.encode(PAYLOAD, key, "RS256", {"typ": "at+jwt", "kid": KID}))


@pytest.mark.parametrize("more", ["jwk", "jku", "x5u", "x5c", "crit", "cty", "b64"])
def test_a_token_brings_no_key_of_its_own(more: str) -> None:
    """A good signature does not help: nothing but alg, typ and kid is read."""
    values: dict[str, Any] = {"crit": ["b64"], "b64": True, "x5c": ["MII"], "jwk": {"kty": "OKP"}}
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": KID, more: values.get(more, "https://evil.test/keys")}
    message = forged(header).rpartition(".")[0].encode()
    with pytest.raises(Unauthenticated):
        check(forged(header, signature=KEY.sign(message)))


@pytest.mark.parametrize("typ", ["JWT", "id_token", None, "at+jwt "])
def test_another_type_of_token_is_refused(typ: str | None) -> None:
    header: dict[str, Any] = {"alg": "EdDSA", "typ": typ, "kid": KID}
    message = forged(header).rpartition(".")[0].encode()
    with pytest.raises(Unauthenticated):
        check(forged(header, signature=KEY.sign(message)))


def test_another_key_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        check(sign(CLAIMS, KID, Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("place", range(0, 500, 7))
def test_every_flipped_character_is_noticed(place: int) -> None:
    token = sign(CLAIMS, KID, KEY)
    place %= len(token) - 1
    other = "A" if token[place] != "A" else "B"
    with pytest.raises(Unauthenticated):
        check(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize(
    ("now", "good"),
    [(0, True), (TTL_SECONDS + 29, True), (TTL_SECONDS + 30, False), (-30, True), (-31, False), (86_400, False)],
)
def test_a_token_is_good_for_its_time_and_half_a_minute(now: float, good: bool) -> None:
    token = sign(CLAIMS, KID, KEY)
    if good:
        assert check(token, NOW + now) == CLAIMS
    else:
        with pytest.raises(Unauthenticated):
            check(token, NOW + now)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.test"},
        {"aud": "https://other.test"},
        {"aud": ["https://other.test", ISSUER]},
        {"exp": NOW + 10 * TTL_SECONDS},
        {"nbf": NOW + 60},
        {"iat": NOW + 60},
        {"exp": str(NOW + TTL_SECONDS)},
        {"exp": 1e300},
        {"kind": "key"},
        {"sub": None},
    ],
)
def test_every_claim_is_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        check(signed({**PAYLOAD, **changes}))


@pytest.mark.parametrize("name", list(PAYLOAD))
def test_every_claim_is_needed(name: str) -> None:
    with pytest.raises(Unauthenticated):
        check(signed({key: value for key, value in PAYLOAD.items() if key != name}))


@pytest.mark.parametrize(
    "token", ["", "eyJ", "eyJ.", "eyJ..", "...", "eyJ" + "A" * MAX_TOKEN_BYTES, "eyJ\xff.a.b", "eyJhIjpbW1tb.e30.x"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated):
        check(token.encode("latin-1"))


def test_a_token_that_is_too_long_is_refused_though_it_is_signed() -> None:
    long = msgspec.structs.replace(CLAIMS, scope="x" * MAX_TOKEN_BYTES)
    with pytest.raises(Unauthenticated):
        check(sign(long, KID, KEY))


def test_an_admin_key_cannot_be_taken_for_a_token() -> None:
    with pytest.raises(SettingsError, match="eyJ"):
        check_admin_key("eyJhbGciOiJFZERTQSJ9")
