"""Scripted services of AWS that believe only what is signed as AWS's own signer would sign it."""

import datetime
from typing import Any

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.behaviours import Behaviour
from tests.support.scripted.scenarios import ScriptedProvider
from tests.support.scripted.server import Playing, ScriptedServer
from tests.support.upstream import Received

_SKEW_SECONDS = 300


class SignedServer(ScriptedServer):
    """Plays one provider to those who know its key; 403 to all others."""

    def __init__(self, provider: ScriptedProvider, credentials: Credentials, service: str, region: str) -> None:
        super().__init__(provider)
        self._credentials = credentials
        self._service = service
        self._region = region
        self.refused = 0
        """Requests whose signature was wrong."""

    def note(self, request: Received) -> Behaviour:
        """The answer, or a refusal."""
        behaviour = super().note(request)
        expected = self.expected(request)
        if expected is not None and request.headers.get("authorization") == expected:
            return behaviour
        self.refused += 1
        return Playing(self.provider.failure("denied"))

    def expected(self, request: Received) -> str | None:
        """What its `authorization` must be."""
        return signature_of(request, self._credentials, self._service, self._region)


def signature_of(request: Received, credentials: Credentials, service: str, region: str) -> str | None:
    """What the `authorization` of a request must be, of those headers that it says are signed; None for an old one."""
    given = request.headers.get("authorization", "")
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = {name: request.headers[name] for name in names if name in request.headers}
    if not {"host", "x-amz-date"} <= signed.keys() or signed.get("x-amz-security-token") != credentials.token:
        return None
    moment = datetime.datetime.strptime(signed["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    if abs((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) > _SKEW_SECONDS:
        return None
    theirs: Any = AWSRequest(
        request.method, f"http://{signed['host']}{request.path}", data=request.body, headers=signed
    )
    theirs.context["timestamp"] = signed["x-amz-date"]
    signer: Any = auth.SigV4Auth(credentials, service, region)
    signature = signer.signature(signer.string_to_sign(theirs, signer.canonical_request(theirs)), theirs)
    ordered = ";".join(sorted(signed))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(theirs)}, SignedHeaders={ordered}, Signature={signature}"
