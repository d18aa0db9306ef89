"""nginx before and beside the registry: front, CDN with signed links, TLS, access log.

The front stands before docker-registry as Docker Hub's own edge does: it adds
the rate-limit headers and turns the registry's redirect into a signed link that
ends soon. The CDN serves the registry's storage folder, answers 400 to whoever
sends it an Authorization, and 403 to a link that is too old, tampered with, or
used with another method than the one it was signed for.
"""

from __future__ import annotations

import http.client
import json
import pathlib

import attrs

from tests.system.parts.processes import Child, MissingPart, listens, need, until

_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_perl_module.so")

_MAIN = """\
{user}
daemon off;
worker_processes 1;
load_module {module};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server_tokens off;
    default_type application/octet-stream;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_max_temp_file_size 0;
    map $http_authorization $has_authorization {{ default true; "" false; }}
    log_format ask escape=json
        '{{"face":"$face","host":"$host","method":"$request_method","uri":"$uri",'
        '"status":$status,"bytes":$body_bytes_sent,"auth":$has_authorization,'
        '"range":"$http_range","accept":"$http_accept","encoding":"$http_accept_encoding",'
        '"agent":"$http_user_agent","client":"$remote_addr"}}';
    perl_set $link_end 'sub {{
        open(my $file, "<", "{folder}/link-life") or return time + 3600;
        return time + <$file>;
    }}';
    perl_set $cdn_rate 'sub {{
        open(my $file, "<", "{folder}/cdn-rate") or return "0";
        my $rate = <$file>; chomp $rate; return $rate;
    }}';
    perl_set $signed_link 'sub {{
        use Digest::MD5 qw(md5_base64);
        my $r = shift;
        my $link = $r->variable("upstream_http_location");
        my ($path) = $link =~ m{{^https?://[^/]+(/[^?]*)}} or return "";
        my $end = $r->variable("link_end");
        my $method = -e "{folder}/links-for-get-only" ? "GET" : $r->request_method;
        my $sum = md5_base64("$end$path $method the tests own secret");
        $sum =~ tr{{+/}}{{-_}};
        return $r->variable("cdn_base") . "$path?verify=$sum&expires=$end";
    }}';
    server {{
        listen {status};
        location / {{ stub_status; }}
    }}
{servers}
}}
"""

_FRONT = """\
    server {{
        listen {listen};
        server_name {names};
        {tls}
        set $face {face};
        set $cdn_base {cdn};
        access_log {log} ask;
        location / {{
            proxy_pass {registry};
            proxy_redirect ~.+ $signed_link;
            proxy_hide_header WWW-Authenticate;
            add_header WWW-Authenticate $challenge_{face} always;
            add_header RateLimit-Limit $rate_limit always;
            add_header RateLimit-Remaining $rate_remaining always;
            add_header Docker-RateLimit-Source 192.0.2.7 always;
        }}
    }}
    map $upstream_http_www_authenticate $challenge_{face} {{
        default "";
        ~^Bearer\\srealm="[^"]*"(?<rest_{face}>.*)$ 'Bearer realm="{realm}"$rest_{face}';
    }}
"""

_RATES = """\
    map $uri $rate_limit { default ""; ~/manifests/ "100;w=21600"; }
    map $uri $rate_remaining { default ""; ~/manifests/ "76;w=21600"; }
"""

_CDN = """\
    server {{
        listen {listen};
        server_name {names};
        {tls}
        set $face {face};
        access_log {log} ask;
        root {storage};
        location / {{
            secure_link $arg_verify,$arg_expires;
            secure_link_md5 "$secure_link_expires$uri $request_method the tests own secret";
            if ($has_authorization = true) {{ return 400 "Only one auth mechanism allowed"; }}
            if ($secure_link = "") {{ return 403 "bad link"; }}
            if ($secure_link = "0") {{ return 403 "link is too old"; }}
            limit_rate $cdn_rate;
        }}
    }}
"""

_TOKENS = """\
    server {{
        listen {listen};
        server_name {names};
        {tls}
        set $face {face};
        access_log {log} ask;
        location / {{ proxy_pass {tokens}; }}
    }}
"""


@attrs.frozen(kw_only=True)
class Ask:
    """One line of the access log: what a client asked, and what it got."""

    face: str  # the server of ours that was asked: front, cdn, …
    host: str
    method: str
    uri: str
    status: int
    bytes: int
    auth: bool
    range: str
    accept: str
    encoding: str
    agent: str
    client: str  # its address


@attrs.frozen
class Tls:
    certificate: pathlib.Path
    key: pathlib.Path

    def lines(self) -> str:
        return f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key};"


@attrs.define
class Nginx:
    """One nginx master with one worker; ``servers`` are blocks made by the functions below."""

    folder: pathlib.Path
    status_host: str
    status_port: int
    servers: list[str] = attrs.Factory(list)
    child: Child | None = None

    @property
    def log(self) -> pathlib.Path:
        return self.folder / "asks.log"

    def start(self) -> None:
        if self.child is not None and self.child.alive:
            return
        need("nginx")
        if not _MODULE.exists():
            raise MissingPart("nginx's perl module is not installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        config = self.folder / "nginx.conf"
        config.write_text(
            _MAIN.format(
                user="user root;" if pathlib.Path("/proc/self").stat().st_uid == 0 else "",
                module=_MODULE,
                folder=self.folder,
                status=f"{self.status_host}:{self.status_port}",
                servers=_RATES + "".join(self.servers),
            )
        )
        argv = ["nginx", "-p", str(self.folder), "-c", str(config)]
        self.child = Child("nginx", argv, self.folder)
        self.child.ready(lambda: listens(self.status_host, self.status_port))

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def link_life(self, seconds: int) -> None:
        """Links signed from now on end after this."""
        (self.folder / "link-life").write_text(f"{seconds}\n")

    def cdn_rate(self, bytes_per_second: int) -> None:
        """How fast one connection of the CDN may be; 0 is as fast as it can."""
        (self.folder / "cdn-rate").write_text(f"{bytes_per_second}\n")

    def links_for_get_only(self) -> None:
        """A HEAD is redirected to a link that is signed for GET, as some CDNs' are."""
        (self.folder / "links-for-get-only").touch()

    def as_usual(self) -> None:
        """Take back what the three methods above set."""
        for knob in ("link-life", "cdn-rate", "links-for-get-only"):
            (self.folder / knob).unlink(missing_ok=True)

    def mark(self) -> int:
        """Where the log stands now, for ``asks``."""
        return self.log.stat().st_size

    def asks(self, mark: int = 0) -> list[Ask]:
        """What was asked since ``mark``, finished requests only."""
        with self.log.open("rb") as file:
            file.seek(mark)
            lines = file.read().splitlines(keepends=True)
        return [Ask(**json.loads(line)) for line in lines if line.endswith(b"\n")]

    def quiet(self) -> None:
        """Wait until no request is under way, so that the log is complete."""
        until(lambda: self._under_way() == 0, "the upstream has no request under way")

    def _under_way(self) -> int:
        connection = http.client.HTTPConnection(self.status_host, self.status_port, timeout=5)
        try:
            connection.request("GET", "/")
            words = connection.getresponse().read().decode().split()
        finally:
            connection.close()
        return int(words[words.index("Reading:") + 1]) + int(words[words.index("Writing:") + 1]) - 1


def front(
    *,
    face: str,
    listen: str,
    log: pathlib.Path,
    registry: str,
    realm: str,
    cdn: str,
    names: str = "_",
    tls: Tls | None = None,
) -> str:
    """Before the registry; challenges name ``realm``, redirects lead to ``cdn``."""
    return _FRONT.format(
        face=face,
        listen=_listen(listen, tls),
        names=names,
        log=log,
        registry=registry,
        realm=realm,
        cdn=cdn,
        tls=tls.lines() if tls else "",
    )


def cdn(
    *,
    face: str,
    listen: str,
    log: pathlib.Path,
    storage: pathlib.Path,
    names: str = "_",
    tls: Tls | None = None,
) -> str:
    return _CDN.format(
        face=face,
        listen=_listen(listen, tls),
        names=names,
        log=log,
        storage=storage,
        tls=tls.lines() if tls else "",
    )


def tokens(*, face: str, listen: str, log: pathlib.Path, tokens: str, names: str, tls: Tls) -> str:
    return _TOKENS.format(
        face=face,
        listen=_listen(listen, tls),
        names=names,
        log=log,
        tokens=tokens,
        tls=tls.lines(),
    )


def _listen(address: str, tls: Tls | None) -> str:
    return f"{address} ssl" if tls else address
