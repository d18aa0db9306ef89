"""nginx as it is commonly set up: a worker a core, sendfile; servers are put in by who uses it."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib

import attrs

from tests.system.parts.processes import Child, listens, need, until

_MAIN = """\
{user}
daemon off;
worker_processes auto;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 10000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format ask '$request_method $uri $status $body_bytes_sent';
{servers}
}}
"""


@attrs.define
class Nginx:
    """``servers`` is the text of its server blocks; one of them answers ``/status``."""

    folder: pathlib.Path
    host: str
    port: int
    servers: str
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        need("nginx")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_MAIN.format(user=user, folder=self.folder, servers=self.servers))
        self.child = Child(
            "nginx", ["nginx", "-p", str(self.folder), "-c", str(config)], self.folder
        )
        self.child.ready(lambda: listens(self.host, self.port))

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def quiet(self) -> None:
        """Wait until no request is under way, so that the log is complete."""
        until(lambda: self._under_way() == 0, "nginx has no request under way")

    def _under_way(self) -> int:
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=5)) as one:
            one.request("GET", "/status")
            words = one.getresponse().read().decode().split()
        return int(words[words.index("Reading:") + 1]) + int(words[words.index("Writing:") + 1]) - 1
