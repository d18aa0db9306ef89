"""The token server of the Hub: signs what docker-registry checks, and remembers who asked.

Registry 2.8 allows a minute of leeway on a token's end (measured), so that a
token that shall end in two seconds is signed as ended 58 seconds ago.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
import urllib.parse
import uuid
from typing import Any

import attrs
import jwt

from tests.system.parts.certificates import Identity

SERVICE = "registry.docker.io"
ISSUER = "tests' token server"
LEEWAY = 60


@attrs.frozen
class TokenAsk:
    """One request for a token."""

    scopes: tuple[str, ...]
    service: str
    account: str  # user of the Basic authorization, or ""
    agent: str
    status: int
    client: str  # its address


@attrs.define
class TokenServer:
    """Serves ``/token`` on ``host:port`` from a thread.

    ``told_life`` is what ``expires_in`` says (None: left out, which means 60),
    ``real_life`` after how many seconds the registry refuses it. ``accounts``
    are users with passwords; anonymous callers may pull what is in no
    ``private`` repository. ``fails_with`` answers every request with that status.
    ``asks`` and ``given`` are every request and every token, in order.
    """

    signer: Identity
    host: str
    port: int = 0
    told_life: int | None = 300
    real_life: float = 300
    accounts: dict[str, str] = attrs.Factory(dict)
    private: set[str] = attrs.Factory(set)
    fails_with: int | None = None
    asks: list[TokenAsk] = attrs.Factory(list)
    given: list[str] = attrs.Factory(list)
    _server: http.server.ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def realm(self) -> str:
        return f"http://{self.host}:{self.port}/token"

    def as_usual(self) -> None:
        """Back to tokens that live five minutes, without accounts; forget who asked."""
        self.told_life, self.real_life, self.fails_with = 300, 300, None
        for collection in (self.accounts, self.private, self.asks, self.given):
            collection.clear()

    def start(self) -> None:
        outer = self

        class Route(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = outer._answer(
                    self.path, dict(self.headers.items()), self.client_address[0]
                )
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Quiet: ``asks`` is the log."""

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Quiet as well: clients may go when and how they like."""

        self._server = Server((self.host, self.port), Route)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def _answer(self, target: str, headers: dict[str, str], client: str) -> tuple[int, bytes]:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query)
        account, known = self._account(headers.get("Authorization", ""))
        status = self.fails_with or (200 if known else 401)
        scopes = tuple(" ".join(query.get("scope", [])).split())
        service = query.get("service", [""])[0]
        agent = headers.get("User-Agent", "")
        self.asks.append(TokenAsk(scopes, service, account, agent, status, client))
        if status != 200:
            return status, b'{"details":"no token"}'
        self.given.append(self.sign(scopes, account))
        body: dict[str, Any] = {"token": self.given[-1]}
        if self.told_life is not None:
            body["expires_in"] = self.told_life
        return 200, json.dumps(body).encode()

    def _account(self, authorization: str) -> tuple[str, bool]:
        if not authorization.startswith("Basic "):
            return "", True
        user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
        return user, self.accounts.get(user) == password

    def sign(self, scopes: tuple[str, ...], account: str = "", *, push: bool = False) -> str:
        """A token for ``scopes`` as ``repository:NAME:ACTIONS``, less what ``account`` may not."""
        now = time.time()
        claims = {
            "iss": ISSUER,
            "sub": account,
            "aud": SERVICE,
            "exp": int(now + self.real_life - LEEWAY),
            "nbf": int(now - 2 * LEEWAY),
            "iat": int(now),
            "jti": uuid.uuid4().hex,
            "access": [self._grant(scope, account, push=push) for scope in scopes],
        }
        chain = {"x5c": [base64.b64encode(self.signer.der).decode()]}
        return jwt.encode(claims, self.signer.key, algorithm="ES256", headers=chain)

    def _grant(self, scope: str, account: str, *, push: bool) -> dict[str, Any]:
        kind, name, asked = scope.split(":", 2)
        allowed = {"pull", "push", "delete"} if push else {"pull"}
        if name in self.private and not account and not push:
            allowed = set()
        actions = [action for action in asked.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": actions}
