"""A proxy between a node and the Hub's plain face, which breaks what it is told to.

Links to the CDN are made to lead through it, too. Runtimes that fall back do not meet it.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

import attrs

#: Headers that are of one connection only.
_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})
_PIECE: Final = 64 * 1024


class Break(enum.Enum):
    """What is wrong with upstream. The value is for the table."""

    NOTHING = "nothing"
    CUT = "upstream cuts each blob in the middle, once"
    STALL = "upstream stalls in the middle of each blob, always"
    ERROR = "upstream says 503"
    LIMIT = "upstream says 429"
    WRONG = "upstream sends a wrong byte in each layer, once"


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Who asks may hang up."""


@attrs.define
class BreakingProxy:
    """``url`` is what a node takes for its upstream, at the host of the token server, as it has
    to be; ``front`` is the URL of the Hub behind it."""

    front: str
    now: Break = Break.NOTHING
    _server: Any = None
    _origins: dict[str, str] = attrs.Factory(dict)
    _met: set[str] = attrs.Factory(set)
    _over: threading.Event = attrs.Factory(threading.Event)

    @property
    def _host(self) -> str:
        return str(urllib.parse.urlsplit(self.front).hostname)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._server.server_address[1]}"

    def be(self, now: Break) -> None:
        self._over.set()
        self._over = threading.Event()
        self._met.clear()
        self.now = now

    @contextlib.contextmanager
    def running(self) -> Iterator[BreakingProxy]:
        self._server = _Server((self._host, 0), self._handler())
        self._server.daemon_threads = True
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    proxy.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """The Hub's own log tells enough."""

        return Handler

    def answer(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        path = urllib.parse.urlsplit(asked.path).path
        if self.now in (Break.ERROR, Break.LIMIT):
            self._refuse(asked)
            return
        origin = self._origins.get(path, self.front)
        there = http.client.HTTPConnection(urllib.parse.urlsplit(origin).netloc, timeout=120)
        headers = {k: v for k, v in asked.headers.items() if k.lower() not in _HOP}
        if origin != self.front:  # the node takes the CDN for the registry, being at one address
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        try:
            there.request(asked.command, asked.path, headers=headers)
            found = there.getresponse()
            asked.send_response(found.status)
            for name, value in found.getheaders():
                if name.lower() not in _HOP:
                    asked.send_header(name, self._through_us(name, value))
            asked.end_headers()
            if asked.command == "GET":
                self._body(asked, found, path)
        finally:
            there.close()

    def _refuse(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        asked.send_response(503 if self.now is Break.ERROR else 429)
        if self.now is Break.LIMIT:
            asked.send_header("Retry-After", "60")
        asked.send_header("Content-Length", "0")
        asked.end_headers()

    def _through_us(self, name: str, value: str) -> str:
        if name.lower() != "location":
            return value
        link = urllib.parse.urlsplit(value)
        self._origins[link.path] = f"{link.scheme}://{link.netloc}"
        ours = urllib.parse.urlsplit(self.url)
        return link._replace(scheme=ours.scheme, netloc=ours.netloc).geturl()

    def _body(self, asked: Any, found: http.client.HTTPResponse, path: str) -> None:
        size = int(found.getheader("Content-Length") or 0)
        is_layer = path in self._origins and size > _PIECE
        sent, over = 0, self._over
        while piece := found.read(min(_PIECE, size)):
            half = sent <= size // 2 < sent + len(piece)
            if is_layer and half and self.now is Break.WRONG and path not in self._met:
                self._met.add(path)
                piece = piece[:-1] + bytes([piece[-1] ^ 1])
            asked.wfile.write(piece)
            sent += len(piece)
            if is_layer and half and self._stops_here(path, over):
                asked.close_connection = True
                return

    def _stops_here(self, path: str, over: threading.Event) -> bool:
        if self.now is Break.STALL:
            over.wait(300)
            return True
        if self.now is Break.CUT and path not in self._met:
            self._met.add(path)
            return True
        return False
