"""OpenID Connect issuer with the client credentials grant only, as many companies run it."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ohlcv.spark.processes import HOST
from support.server_thread import running

KEY_ID = "tests"


@dataclass
class Issuer:
    """A running issuer. The lifetime of its tokens and its clients can change at any time."""

    address: str = ""
    # Client id -> secret. The other clients are refused.
    clients: dict[str, str] = field(default_factory=dict, repr=False)
    # Seconds until a new token expires.
    lifetime: float = 3600.0
    # Client of each token, and the grant types of refused requests.
    issued: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048), repr=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def token_address(self) -> str:
        return f"{self.address}/token"

    def new_client(self, prefix: str = "client") -> str:
        """Register a client and return its credential, `client_id:secret`."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.clients[name] = secrets.token_urlsafe(24)
        return f"{name}:{self.clients[name]}"

    def token(self, client: str, scope: str = "catalog") -> str:
        """Return a new token of a client."""
        now = time.time()
        claims = {"iss": self.address, "aud": "catalog", "sub": client, "client_id": client, "scope": scope}
        times = {"iat": int(now), "exp": int(now + self.lifetime)}
        with self._changed:
            self.issued.append(client)
            self._changed.notify_all()
        return jwt.encode({**claims, **times, "jti": secrets.token_hex(8)}, self._key, "RS256", {"kid": KEY_ID})

    def client_of(self, token: str) -> str:
        """Return the client of a valid token. Raise jwt.PyJWTError otherwise."""
        claims = jwt.decode(token, self._key.public_key(), ["RS256"], audience="catalog", issuer=self.address)
        return str(claims["client_id"])

    def answer(self, form: dict[str, list[str]], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer to a token request."""
        client, secret = (form.get(name, [""])[0] for name in ("client_id", "client_secret"))
        if authorization.startswith("Basic "):
            client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            client, secret = unquote(client), unquote(secret)
        grant = form.get("grant_type", [""])[0]
        if grant != "client_credentials":
            self.refused.append(grant)
            return 400, {"error": "unsupported_grant_type", "error_description": f"{grant} is not supported"}
        if not secret or self.clients.get(client) != secret:
            self.refused.append(grant)
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        token = self.token(client, form.get("scope", ["catalog"])[0])
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime)}

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return the discovery document and the public keys by path."""
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.address,
                "token_endpoint": self.token_address,
                "jwks_uri": f"{self.address}/keys",
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/keys": {"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]},
        }


@contextmanager
def oidc_issuer() -> Iterator[Issuer]:
    """Run an issuer."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = issuer.documents().get(self.path)
            self._send(404 if document is None else 200, document or {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            self._send(*issuer.answer(parse_qs(body), self.headers.get("Authorization") or ""))

        def _send(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer((HOST, 0), Handler)) as address:
        issuer.address = address
        yield issuer
