"""Deliveries that prove that they know the secret, and those that do not."""

import base64
import hmac
from collections.abc import Mapping
from hashlib import sha256

import pytest

from polyforge.flows.triggers.signing import TOLERANCE_SECONDS, check, check_secret, signed
from polyforge.kernel.errors import Invalid, Unauthenticated

SECRET = "a-long-random-secret"
NOW = 1_700_000_000
BODY = b'{"a": 1}'


def headers(changes: Mapping[str, str] | None = None, *, secret: str = SECRET) -> dict[str, str]:
    told = {
        "webhook-id": "d1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": signed(secret, "d1", NOW, BODY),
    }
    return {**told, **(changes or {})}


def test_a_signed_delivery_is_right() -> None:
    assert check("signature", SECRET, headers(), BODY, NOW) == "d1"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of their specification's libraries: a secret in base64 behind `whsec_`."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    payload = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, payload) == expected


def test_a_secret_without_the_prefix_is_taken_as_it_is() -> None:
    digest = hmac.digest(SECRET.encode(), f"d1.{NOW}.".encode() + BODY, sha256)
    assert signed(SECRET, "d1", NOW, BODY) == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("told", "body"),
    [
        (headers(), b'{"a": 2}'),
        (headers({"webhook-id": "d2"}), BODY),
        (headers({"webhook-timestamp": str(NOW + 1)}), BODY),
        (headers(secret="another-long-secret"), BODY),
        (headers({"webhook-signature": ""}), BODY),
        (headers({"webhook-signature": "v1,\xff"}), BODY),
        (headers({"webhook-signature": signed(SECRET, "d1", NOW, BODY).removeprefix("v1,")}), BODY),
        (headers({"webhook-id": ""}), BODY),
        (headers({"webhook-id": "d 1"}), BODY),
        (headers({"webhook-timestamp": "now"}), BODY),
        ({}, BODY),
        ({"authorization": f"Bearer {SECRET}"}, BODY),
    ],
)
def test_what_is_forged_is_refused(told: dict[str, str], body: bytes) -> None:
    with pytest.raises(Unauthenticated):
        check("signature", SECRET, told, body, NOW)


@pytest.mark.parametrize("late", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1])
def test_an_old_delivery_is_refused_though_it_is_signed(late: int) -> None:
    with pytest.raises(Unauthenticated, match="seconds old"):
        check("signature", SECRET, headers(), BODY, NOW + late)
    assert check("signature", SECRET, headers(), BODY, NOW + TOLERANCE_SECONDS) == "d1"


def test_one_of_several_signatures_is_enough() -> None:
    both = f"{signed('the-secret-before-this', 'd1', NOW, BODY)} {signed(SECRET, 'd1', NOW, BODY)}"
    assert check("signature", SECRET, headers({"webhook-signature": both}), BODY, NOW) == "d1"


def test_signatures_are_looked_at_up_to_a_number() -> None:
    many = " ".join(["v1,x"] * 10 + [signed(SECRET, "d1", NOW, BODY)])
    with pytest.raises(Unauthenticated):
        check("signature", SECRET, headers({"webhook-signature": many}), BODY, NOW)


def test_a_bearer_sends_the_secret() -> None:
    told = {"authorization": f"Bearer {SECRET}", "idempotency-key": "d7"}
    assert check("bearer", SECRET, told, BODY, NOW) == "d7"
    assert check("bearer", SECRET, {"authorization": f"bearer {SECRET}"}, BODY, NOW) is None


@pytest.mark.parametrize("told", ["", SECRET, f"Basic {SECRET}", "Bearer wrong", f"Bearer {SECRET}x"])
def test_a_wrong_bearer_is_refused(told: str) -> None:
    with pytest.raises(Unauthenticated, match="send the secret"):
        check("bearer", SECRET, {"authorization": told}, BODY, NOW)


def test_an_id_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(Invalid):
        check("bearer", SECRET, {"authorization": f"Bearer {SECRET}", "webhook-id": "x" * 201}, BODY, NOW)


@pytest.mark.parametrize("secret", ["", "short", "whsec_c2hvcnQ=", "whsec_not base64 at all"])
def test_a_weak_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        check_secret(secret)


def test_a_strong_secret_will_do() -> None:
    check_secret(SECRET)
    check_secret("whsec_" + base64.b64encode(b"x" * 16).decode())
