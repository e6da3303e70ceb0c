"""An OpenID Connect provider that does what tests tell it to, over real HTTP: honest unless they say otherwise."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.ports import LOOPBACK

CLIENT_ID = "polyforge"
CLIENT_SECRET = "a client's secret: +&%"  # has what must be quoted in a header

Claims = dict[str, Any]
Forge = Callable[[Claims], str]


class SigningKey:
    """A key of the provider."""

    def __init__(self, kid: str, bits: int = 2_048) -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(65537, bits)

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public part."""
        public: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.private.public_key()))
        return {**public, "kid": self.kid, "use": "sig", "alg": "RS256", **more}

    def sign(self, claims: Claims, **header: Any) -> str:
        """An ID token."""
        return jwt.encode(claims, self.private, "RS256", {"kid": self.kid, **header})


class IdentityProvider:
    """The provider. `person` is who signs in next; `forge` makes the ID token of claims."""

    def __init__(self, key: SigningKey) -> None:
        self.keys: list[dict[str, Any]] = [key.jwk()]
        self.key = key
        self.person: Claims = {}
        self.forge: Forge | None = None
        """Makes the token; default: signs it with `key`."""
        self.userinfo: Claims | None = None
        self.described: Claims = {}
        """What its description says otherwise."""
        self.answers: dict[str, tuple[int, bytes]] = {}
        """What a path answers instead."""
        self.delay: dict[str, float] = {}
        self.refuses = False
        """Whether it sends browsers back without signing them in."""
        self.calls: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self.issuer = f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def visit(self, address: str) -> dict[str, str]:
        """What the browser comes back with, once its user has signed in at `address`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.issuer}/authorize?")
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT_ID)
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return {"code": code, "state": query["state"]}

    def sent_back(self, path: str) -> str:
        """Where it sends a browser that came to `path`, at once: whoever is asked to sign in has done so already."""
        back = self.visit(self.issuer + path)
        query = self._codes[back["code"]]
        if self.refuses:
            back = {"error": "access_denied", "state": back["state"]}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def claims(self, query: dict[str, str]) -> Claims:
        """What an honest ID token says."""
        now = int(time.time())
        base = {"iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": query["nonce"]}
        return {**base, **self.person}

    # The endpoints

    def description(self) -> Claims:
        usual = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
        }
        if self.userinfo is not None:
            usual["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        return {**usual, **self.described}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        query = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if query is None or query["code_challenge"] != challenge.rstrip(b"=").decode():
            return 400, {"error": "invalid_grant"}
        if query["redirect_uri"] != form.get("redirect_uri") or not self._is_client(form, authorization):
            return 401, {"error": "invalid_client"}
        token = (self.forge or self.key.sign)(self.claims(query))
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token}

    def _is_client(self, form: dict[str, str], authorization: str) -> bool:
        quoted = "a+client%27s+secret%3A+%2B%26%25"
        basic = base64.b64encode(f"{CLIENT_ID}:{quoted}".encode()).decode()
        return authorization == f"Basic {basic}" or form.get("client_secret") == CLIENT_SECRET

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        self.calls.append(path)
        time.sleep(self.delay.get(path, 0))
        if path in self.answers:
            return self.answers[path]
        status: int = 200
        content: Any = None
        if path == "/.well-known/openid-configuration":
            content = self.description()
        elif path == "/keys":
            content = {"keys": self.keys}
        elif path == "/token":
            status, content = self.token(form, authorization)
        elif path == "/userinfo" and authorization == "Bearer opaque":
            content = self.userinfo
        else:
            status = 404
        return status, json.dumps(content).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/authorize?"):
                    provider.calls.append("/authorize")
                    self.send_response(302)
                    self.send_header("location", provider.sent_back(self.path))
                    self.send_header("content-length", "0")
                    self.end_headers()
                else:
                    self._reply({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._reply({name: values[0] for name, values in parse_qs(body).items()})

            def _reply(self, form: dict[str, str]) -> None:
                status, body = provider.answer(self.path, form, self.headers.get("authorization", ""))
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        return Handler
