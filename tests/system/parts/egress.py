"""The way out of the tests' world: a CONNECT proxy that knows a few names and no network."""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import threading

import attrs


@attrs.define
class EgressProxy:
    """Connects the names in ``routes`` to where they live here; refuses all others.

    ``connects`` lists every name and port that was asked for, refused or not:
    an empty list means that nobody tried to leave.
    """

    routes: dict[tuple[str, int], tuple[str, int]]
    host: str = "127.0.0.1"
    port: int = 0
    connects: list[tuple[str, int]] = attrs.Factory(list)
    _server: socketserver.ThreadingTCPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        outer = self

        class Tunnel(socketserver.StreamRequestHandler):
            rbufsize = 0  # what follows the headers belongs to the tunnel

            def handle(self) -> None:
                line = self.rfile.readline().decode("latin-1")
                while self.rfile.readline().strip():
                    pass
                outer._serve(self.connection, line)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server((self.host, self.port), Tunnel)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def _serve(self, client: socket.socket, line: str) -> None:
        method, _, rest = line.partition(" ")
        name, _, port = rest.split(" ")[0].rpartition(":")
        target = (name, int(port)) if port.isdigit() else (rest, 0)
        self.connects.append(target)
        route = self.routes.get(target) if method == "CONNECT" else None
        if route is None:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        try:
            server = socket.create_connection(route, timeout=5)
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(client, server)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until either side ends."""
    peers = {one: other, other: one}
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        for side, peer in peers.items():
            selector.register(side, selectors.EVENT_READ, peer)
        while True:
            for key, _ in selector.select():
                to: socket.socket = key.data
                data = peers[to].recv(1 << 18)
                if not data:
                    return
                to.sendall(data)
