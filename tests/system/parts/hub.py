"""Docker Hub in small, of real parts: registry, token server, CDN, rate-limit headers.

Two faces show the same images. The *plain* face is http on loopback addresses:
registry, tokens and CDN each on an address or port of their own. The *public*
face is https under Docker Hub's real names, reached through the egress proxy of
the tests: what a runtime falls back to, and what a node with default settings
talks to. Each face can be stopped and started on its own.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tests.system.parts import nginx, registry
from tests.system.parts.certificates import Identity, authority, server
from tests.system.parts.egress import EgressProxy
from tests.system.parts.nginx import Ask, Nginx, Tls
from tests.system.parts.processes import free_port
from tests.system.parts.tokens import ISSUER, SERVICE, TokenServer

REGISTRY = "registry-1.docker.io"
TOKENS = "auth.docker.io"
CDN = "production.cloudflare.docker.com"
FRONT_HOST, CDN_HOST = "127.0.0.2", "127.0.0.3"


@attrs.frozen
class Asked:
    """What one face was asked from some point on."""

    asks: tuple[Ask, ...]

    def _count(self, face: str, part: str, *methods: str) -> int:
        found = [ask for ask in self.asks if ask.face == face and part in ask.uri]
        return sum(not methods or ask.method in methods for ask in found)

    @property
    def manifest_gets(self) -> int:
        """Manifest GETs that were answered: what Docker Hub counts against the limit."""
        return sum(ask.status == 200 for ask in self.manifests("GET"))

    @property
    def manifest_heads(self) -> int:
        return len(self.manifests("HEAD"))

    def manifests(self, method: str) -> list[Ask]:
        return [ask for ask in self.asks if "/manifests/" in ask.uri and ask.method == method]

    @property
    def blobs(self) -> list[Ask]:
        """Requests to the CDN for a body: one for each blob, or for each range of it."""
        return [ask for ask in self.asks if ask.face == "cdn" and ask.method == "GET"]

    def fetched(self, digest: str) -> int:
        """Bytes of one blob that the CDN sent."""
        return sum(ask.bytes for ask in self.blobs if digest.split(":")[1] in ask.uri)

    @property
    def fetched_bytes(self) -> int:
        return sum(ask.bytes for ask in self.blobs if ask.status in {200, 206})

    def __str__(self) -> str:
        return "\n".join(
            f"{ask.client} {ask.face} {ask.method} {ask.uri} {ask.status} {ask.bytes} {ask.range}"
            for ask in self.asks
        )


@attrs.define
class Face:
    """One nginx of the Hub."""

    nginx: Nginx

    def start(self) -> None:
        """Idempotent."""
        self.nginx.start()

    def stop(self) -> None:
        self.nginx.stop()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def mark(self) -> int:
        self.nginx.quiet()
        return self.nginx.mark()

    def asked(self, mark: int) -> Asked:
        """Everything asked since ``mark``, once no request is under way."""
        self.nginx.quiet()
        return Asked(tuple(self.nginx.asks(mark)))


@attrs.define
class Hub:
    folder: pathlib.Path
    ca: Identity
    tokens: TokenServer
    registry: registry.DockerRegistry
    plain: Face
    public: Face
    egress: EgressProxy
    url: str

    @property
    def backend(self) -> tuple[str, int]:
        """Where images are pushed: the registry itself."""
        return self.registry.host, self.registry.port

    def start(self) -> None:
        self.registry.start()
        self.plain.start()
        self.public.start()
        self.egress.start()

    def stop(self) -> None:
        self.egress.stop()
        self.public.stop()
        self.plain.stop()
        self.registry.stop()
        self.tokens.stop()

    def as_usual(self) -> None:
        """Take back every knob that a test turned, and start what it stopped."""
        self.tokens.as_usual()
        for face in (self.plain, self.public):
            face.nginx.as_usual()
            face.start()
        self.egress.connects.clear()

    def client_env(self) -> dict[str, str]:
        """With this environment Docker Hub's names lead a runtime to the public face."""
        return {
            "HTTPS_PROXY": self.egress.url,
            "NO_PROXY": "127.0.0.0/8,localhost",
            "SSL_CERT_FILE": str(self.ca.certificate_file),
        }


def make_hub(folder: pathlib.Path, front_host: str = FRONT_HOST, cdn_host: str = CDN_HOST) -> Hub:
    """The parts, wired; the token server already runs, the rest waits for ``start``."""
    ca = authority(folder / "tls")
    pair = server(folder / "tls", ca, [REGISTRY, TOKENS, CDN, front_host, "localhost"])
    tls = Tls(pair.certificate_file, pair.key_file)
    tokens = TokenServer(ca, front_host)
    tokens.start()
    front_port, cdn_port, tls_port = (
        free_port(host) for host in (front_host, cdn_host, front_host)
    )
    backend = registry.origin(
        folder / "registry",
        cdn=f"http://{cdn_host}:{cdn_port}",
        realm=tokens.realm,
        service=SERVICE,
        issuer=ISSUER,
        bundle=ca.certificate_file,
    )
    plain = Nginx(folder / "plain", front_host, free_port(front_host))
    origin = f"http://{backend.host}:{backend.port}"
    plain.servers = [
        nginx.front(
            face="front",
            listen=f"{front_host}:{front_port}",
            log=plain.log,
            registry=origin,
            realm=tokens.realm,
            cdn=f"http://{cdn_host}:{cdn_port}",
        ),
        nginx.cdn(
            face="cdn", listen=f"{cdn_host}:{cdn_port}", log=plain.log, storage=backend.storage
        ),
    ]
    public = Nginx(folder / "public", front_host, free_port(front_host))
    listen = f"{front_host}:{tls_port}"
    public.servers = [
        nginx.front(
            face="front",
            listen=listen,
            log=public.log,
            registry=origin,
            names=REGISTRY,
            realm=f"https://{TOKENS}/token",
            cdn=f"https://{CDN}",
            tls=tls,
        ),
        nginx.cdn(
            face="cdn", listen=listen, log=public.log, storage=backend.storage, names=CDN, tls=tls
        ),
        nginx.tokens(
            face="tokens",
            listen=listen,
            log=public.log,
            names=TOKENS,
            tls=tls,
            tokens=f"http://{tokens.host}:{tokens.port}",
        ),
    ]
    egress = EgressProxy({(name, 443): (front_host, tls_port) for name in (REGISTRY, TOKENS, CDN)})
    return Hub(
        folder,
        ca,
        tokens,
        backend,
        Face(plain),
        Face(public),
        egress,
        f"http://{front_host}:{front_port}",
    )
