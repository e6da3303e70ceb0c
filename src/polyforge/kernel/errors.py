"""The one error tree: what went wrong, as a class that carries its HTTP status and its code.

The status is on the class because it belongs to the condition, not to the place that noticed it. Rooms raise these;
only `server/` renders them, once per dialect. Anything else that escapes is an opaque 500.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class PolyforgeError(Exception):
    """A condition that a caller can be told about. `message` says what to do; `param` names the offending field."""

    status: int = 500
    code: str = "internal_error"
    kind: str = "server_error"
    retryable: bool = False

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class Invalid(PolyforgeError):
    """The request is malformed or names something that cannot be done."""

    status = 400
    code = "invalid_request"
    kind = "invalid_request_error"


class Faulty(Invalid):
    """A flow cannot be taken as it is; `problems` are all that is wrong with it, each with where, and what to do."""

    code = "invalid_flow"

    def __init__(self, message: str, *, param: str | None = None, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message, param=param)
        self.problems = problems


class Unsupported(Invalid):
    """The provider has no place for something that the caller asked for; another deployment may have."""

    code = "unsupported_parameter"


class Unauthenticated(PolyforgeError):
    """No key, or one that does not work."""

    status = 401
    code = "invalid_api_key"
    kind = "authentication_error"


class WrongCredentials(Unauthenticated):
    """The e-mail address, the password, the code or the link is wrong, used or too old; which of them is not said."""

    code = "wrong_credentials"


class InvalidClient(Unauthenticated):
    """OAuth 2: the client id or the client secret is wrong (RFC 6749 section 5.2)."""

    code = "invalid_client"


class InvalidGrant(Invalid):
    """OAuth 2: the refresh token is unknown, used, revoked or expired."""

    code = "invalid_grant"


class InvalidScope(Invalid):
    """OAuth 2: a scope that does not exist, or that the client does not have."""

    code = "invalid_scope"


class UnsupportedGrantType(Invalid):
    """OAuth 2: a grant type that is not spoken here."""

    code = "unsupported_grant_type"


class UnsupportedTokenType(Invalid):
    """OAuth 2: a token of a kind that cannot be revoked (RFC 7009 section 2.2.1)."""

    code = "unsupported_token_type"


class BudgetSpent(PolyforgeError):
    """The budget of the key is used up; trying again changes nothing until it is raised or its period ends."""

    status = 402
    code = "insufficient_quota"
    kind = "insufficient_quota"


class Denied(PolyforgeError):
    """The caller is known, and may not do this."""

    status = 403
    code = "permission_denied"
    kind = "permission_error"


class SignOnRefused(Denied):
    """The identity provider did not sign somebody in: they gave up there, or are not let in by it."""

    code = "sign_on_refused"


class NoRole(Denied):
    """Somebody has an account and may do nothing with it yet; an administrator gives roles."""

    code = "no_role"


class NoAccount(Denied):
    """The identity provider knows somebody who has no account here, and the settings make none; invite them."""

    code = "no_account"


class AddressNotAllowed(Denied):
    """The identity provider tells an e-mail address that is not verified, or that the settings keep out."""

    code = "address_not_allowed"


class SignOnOver(Invalid):
    """A sign-on that this browser did not begin, that took too long or was used before; it has to begin again."""

    code = "sign_on_over"


class NotFound(PolyforgeError):
    """It does not exist, or it is hidden from this caller: the two look the same on purpose."""

    status = 404
    code = "not_found"
    kind = "invalid_request_error"


class ModelNotFound(NotFound):
    """No such model, or none that this caller may use."""

    code = "model_not_found"


class MethodNotAllowed(PolyforgeError):
    """The path exists, with another verb."""

    status = 405
    code = "method_not_allowed"
    kind = "invalid_request_error"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class NotSupported(PolyforgeError):
    """A part of a protocol that is not spoken here; what to do instead is in the message."""

    status = 501
    code = "not_supported"
    kind = "invalid_request_error"


class Conflict(PolyforgeError):
    """It clashes with what is already there."""

    status = 409
    code = "conflict"
    kind = "invalid_request_error"


class Outdated(PolyforgeError):
    """It was changed since the caller saw it (`If-Match`); `current` says by whom, when, and how it differs now."""

    status = 412
    code = "precondition_failed"
    kind = "invalid_request_error"

    def __init__(self, message: str, *, current: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.current = current


class IdempotencyRunning(Conflict):
    """The first request with this `Idempotency-Key` is not answered yet; a little later it may be."""

    code = "idempotency_in_progress"
    retryable = True


class IdempotencyKeyReused(Invalid):
    """This `Idempotency-Key` came with another request before."""

    status = 422
    code = "idempotency_key_reused"


class IdempotencyAnswerLost(Invalid):
    """The request with this `Idempotency-Key` was answered, and the answer was too large to be kept."""

    status = 422
    code = "idempotency_answer_lost"


class TooLarge(PolyforgeError):
    """The body is over its size limit."""

    status = 413
    code = "request_too_large"
    kind = "invalid_request_error"


class RateLimited(PolyforgeError):
    """Too much in too short a time; `retry_after` says when there is room again."""

    status = 429
    code = "rate_limit_exceeded"
    kind = "rate_limit_error"
    retryable = True


class LimitReached(RateLimited):
    """A limit that was set here has no room for now; no deployment did anything wrong."""


class QuotaSpent(RateLimited):
    """The credit of the account at the provider is used up; trying it again soon changes nothing."""

    code = "upstream_quota_spent"


class UpstreamFailed(PolyforgeError):
    """The provider answered with an error, or with something that is no answer."""

    status = 502
    code = "upstream_error"
    kind = "upstream_error"
    retryable = True


class InvalidModelOutput(UpstreamFailed):
    """The model's answer has not the form that it must have, not even after it was told so; `output` is what it said.

    The call is charged for all the same: the model did answer.
    """

    code = "invalid_model_output"
    retryable = False

    def __init__(self, message: str, *, output: str) -> None:
        super().__init__(message)
        self.output = output


class UpstreamDenied(UpstreamFailed):
    """The provider does not accept our credentials; trying it again changes nothing until they are mended."""

    code = "upstream_denied"


class GuardrailBlocked(Invalid):
    """A guardrail does not let the request or its answer through; the message names it, not what it found."""

    code = "guardrail_blocked"


class UpstreamRefused(Invalid):
    """The provider found the request itself wrong, with this status; another deployment would too."""

    code = "upstream_refused"

    def __init__(self, message: str, *, status: int, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code or self.code


class Unavailable(PolyforgeError):
    """Something that this request needs is down for now."""

    status = 503
    code = "unavailable"
    kind = "server_error"
    retryable = True


class BrokenOff(Unavailable):
    """What was computing the answer ended. The request may be why: it is not sent there a second time."""


class GuardrailFailed(Unavailable):
    """A guardrail could not judge, and what nobody has judged does not go through."""

    code = "guardrail_failed"


class NotConfigured(Unavailable):
    """Something that an operator has to set is missing; it works again as soon as it is there."""

    code = "not_configured"


class TimedOut(PolyforgeError):
    """The provider, or the whole request, took longer than its limit."""

    status = 504
    code = "timeout"
    kind = "server_error"
    retryable = True


class ModelFailed(PolyforgeError):
    """One model of our own host did not answer, with this status; that says nothing of the host's others."""

    code = "model_failed"

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message, param="model", retry_after=retry_after)
        self.status = status


class SettingsError(PolyforgeError):
    """A setting is wrong; the process does not start. The message begins with the path of the setting."""

    code = "invalid_settings"


class Cancelled(PolyforgeError):
    """The caller closed the connection; nobody reads this answer."""

    status = 499
    code = "client_closed_request"
    kind = "invalid_request_error"
