"""A double of Docker Hub on loopback: token server, registry and CDN, each a site.

    hub = FakeHub(reactor).start()
    image = hub.add_image("library/alpine", "latest", [b"layer one", b"layer two"])
    ... a client pulls from hub.url ...
    hub.registry.count(method="GET", kind="manifest")      # 1
    hub.cdn.fault(cut(5), times=1)                         # see fakes_http
    await hub.stop()

It keeps the rules that matter to a client: a token is good for one repository
and for ``token_life`` seconds; a HEAD of a manifest is free, a GET counts
against ``pull_limit``; a manifest is shown only to those who accept its type; a
blob is redirected (307) to the CDN with a link that is signed for GET, lives
``link_life`` seconds and is refused when an Authorization comes with it; the
CDN takes ranges. ``requests`` is the log of all three sites in order.
``Seen.kind`` is token, ping, manifest, blob, tags, referrers or other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Self

import attrs

from tests.fakes_http import Bytes, Content, Pattern, Plan, Seen, answer
from tests.fakes_site import ScriptedSite

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@attrs.frozen
class Manifest:
    digest: str
    media_type: str
    body: bytes


@attrs.frozen
class Image:
    """``layers`` are digests, in order."""

    name: str
    digest: str
    manifest: Manifest
    config: str
    layers: tuple[str, ...]


@attrs.frozen
class _Token:
    scope: str
    account: str
    expires_at: float


@attrs.define
class _Repository:
    tags: dict[str, str] = attrs.field(factory=dict)
    manifests: dict[str, Manifest] = attrs.field(factory=dict)
    blobs: set[str] = attrs.field(factory=set)
    referrers: dict[str, bytes] = attrs.field(factory=dict)
    readers: tuple[str, ...] | None = None  # None: everyone


class FakeHub:
    """``token_auth`` False: no login at all. ``cdn_host`` None: blobs come from the registry."""

    def __init__(
        self,
        reactor: Any,
        *,
        host: str = "127.0.0.1",
        public_host: str | None = None,
        token_auth: bool = True,
        cdn_host: str | None = "127.0.0.1",
        cdn_public_host: str | None = None,
        tls: Any = None,
    ) -> None:
        self.reactor = reactor
        self.registry = ScriptedSite(
            reactor, "registry", self._registry, host=host, public_host=public_host, tls=tls
        )
        self.tokens = ScriptedSite(
            reactor, "token", self._token, host=host, public_host=public_host, tls=tls
        )
        self.cdn = ScriptedSite(
            reactor,
            "cdn",
            self._cdn,
            host=cdn_host or host,
            public_host=cdn_public_host,
            tls=tls,
        )
        self.token_auth = token_auth
        self.use_cdn = cdn_host is not None
        self.token_life = 300.0
        self.link_life = 3600.0
        self.cdn_takes_head = False
        self.realm: str | None = None
        self.accounts: dict[str, str] = {}
        self.pull_limit: int | None = None
        self.pulls = 0
        self.rate_window = 21600
        self._repositories: dict[str, _Repository] = {}
        self._blobs: dict[str, Content] = {}
        self._tokens: dict[str, _Token] = {}
        self._links: dict[str, float] = {}
        self._serial = 0

    # Life

    def start(self) -> Self:
        for site in self.sites:
            site.start()
        return self

    async def stop(self) -> None:
        for site in self.sites:
            await site.stop()

    @property
    def sites(self) -> tuple[ScriptedSite, ScriptedSite, ScriptedSite]:
        return self.registry, self.tokens, self.cdn

    @property
    def url(self) -> str:
        return self.registry.url

    @property
    def requests(self) -> list[Seen]:
        merged = [seen for site in self.sites for seen in site.requests]
        return sorted(merged, key=lambda seen: seen.serial)

    def count(self, **fields: object) -> int:
        """Requests of all three sites whose fields are these (see ``Seen``)."""
        return sum(site.count(**fields) for site in self.sites)

    # What it holds

    def repository(self, name: str) -> _Repository:
        return self._repositories.setdefault(name, _Repository())

    def add_blob(self, name: str, data: bytes | Content) -> str:
        content = Bytes(data) if isinstance(data, bytes) else data
        digest = _digest_of(content)
        self._blobs[digest] = content
        self.repository(name).blobs.add(digest)
        return digest

    def add_pattern(self, name: str, size: int, seed: bytes = b"nodecache") -> str:
        """A blob of any size that costs no memory here."""
        block = b"".join(hashlib.sha256(seed + b"%d" % n).digest() for n in range(2048))
        return self.add_blob(name, Pattern(size, block))

    def add_manifest(
        self, name: str, tag: str | None, body: bytes, media_type: str = MANIFEST
    ) -> Manifest:
        manifest = Manifest(sha256(body), media_type, body)
        repository = self.repository(name)
        repository.manifests[manifest.digest] = manifest
        if tag is not None:
            repository.tags[tag] = manifest.digest
        return manifest

    def add_image(
        self,
        name: str,
        tag: str | None,
        layers: Sequence[bytes | Content],
        *,
        media_type: str = MANIFEST,
        platform: str = "amd64",
    ) -> Image:
        config = json.dumps({"architecture": platform, "os": "linux", "of": [name, tag]}).encode()
        config_digest = self.add_blob(name, config)
        digests = tuple(self.add_blob(name, layer) for layer in layers)
        body = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": len(config)},
            "layers": [
                {"mediaType": LAYER, "digest": digest, "size": self._blobs[digest].size}
                for digest in digests
            ],
        }
        manifest = self.add_manifest(name, tag, json.dumps(body, indent=3).encode(), media_type)
        return Image(name, manifest.digest, manifest, config_digest, digests)

    def add_index(
        self, name: str, tag: str | None, images: dict[str, Image], *, media_type: str = INDEX
    ) -> Manifest:
        """``images`` by architecture."""
        children = [
            {
                "mediaType": image.manifest.media_type,
                "digest": image.digest,
                "size": len(image.manifest.body),
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for architecture, image in images.items()
        ]
        body = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
        return self.add_manifest(name, tag, json.dumps(body, indent=3).encode(), media_type)

    def add_referrers(self, name: str, digest: str, body: bytes) -> None:
        self.repository(name).referrers[digest] = body

    def remove(self, name: str) -> None:
        """The repository is deleted."""
        self._repositories.pop(name, None)

    def make_private(self, name: str, *accounts: str) -> None:
        """Readable by these accounts only (``accounts[user] = password``)."""
        self.repository(name).readers = accounts

    # What goes out of date

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def expire_links(self) -> None:
        self._links.clear()

    # Token server

    def _token(self, seen: Seen) -> Plan:
        self._number(seen)
        seen.kind = "token"
        account = ""
        login = seen.header("authorization")
        if login is not None:
            user, _, password = base64.b64decode(login.split()[1]).decode().partition(":")
            if self.accounts.get(user) != password:
                return answer(401, b'{"details":"incorrect username or password"}')(Plan())
            account = user
        scope = seen.query.get("scope", [""])[0]
        seen.name = scope.removeprefix("repository:").removesuffix(":pull")
        self._serial += 1
        value = f"token-{self._serial}-{account or 'anonymous'}"
        self._tokens[value] = _Token(scope, account, self.reactor.seconds() + self.token_life)
        body = {"token": value, "access_token": value, "expires_in": int(self.token_life)}
        return Plan(body=Bytes(json.dumps(body).encode()), media_type="application/json")

    def _number(self, seen: Seen) -> None:
        self._serial += 1
        seen.serial = self._serial

    # Registry

    def _registry(self, seen: Seen) -> Plan:
        self._number(seen)
        _name_parts(seen)
        if self.token_auth and not self._allowed(seen):
            return self._challenge(seen)
        if seen.kind == "ping":
            return Plan(body=Bytes(b"{}"), media_type="application/json")
        repository = self._repositories.get(seen.name)
        if repository is None:
            return _error(404, "NAME_UNKNOWN")
        if seen.kind == "manifest":
            return self._manifest(seen, repository)
        if seen.kind == "blob":
            return self._blob(seen, repository)
        if seen.kind == "tags":
            return self._tags(seen, repository)
        if seen.kind == "referrers" and seen.reference in repository.referrers:
            return Plan(body=Bytes(repository.referrers[seen.reference]), media_type=INDEX)
        return _error(404, "UNKNOWN")

    def _allowed(self, seen: Seen) -> bool:
        scheme, _, value = (seen.header("authorization") or "").partition(" ")
        token = self._tokens.get(value)
        if scheme != "Bearer" or token is None or token.expires_at <= self.reactor.seconds():
            return False
        if seen.kind == "ping":
            return True
        readers = self.repository(seen.name).readers if seen.name in self._repositories else None
        right = token.scope == f"repository:{seen.name}:pull"
        return right and (readers is None or token.account in readers)

    def _challenge(self, seen: Seen) -> Plan:
        realm = self.realm or f"{self.tokens.url}/token"
        parts = f'Bearer realm="{realm}",service="registry.fake"'
        if seen.name:
            parts += f',scope="repository:{seen.name}:pull"'
        return _error(401, "UNAUTHORIZED", **{"WWW-Authenticate": parts})

    def _manifest(self, seen: Seen, repository: _Repository) -> Plan:
        digest = repository.tags.get(seen.reference, seen.reference)
        manifest = repository.manifests.get(digest)
        accepted = seen.header("accept") or ""
        if manifest is None or manifest.media_type not in accepted:
            return _error(404, "MANIFEST_UNKNOWN")
        headers = {"Docker-Content-Digest": manifest.digest, **self._rates(seen)}
        if self.pull_limit is not None and seen.method == "GET" and self.pulls > self.pull_limit:
            return _error(429, "TOOMANYREQUESTS", **self._rates(seen))
        return Plan(body=Bytes(manifest.body), media_type=manifest.media_type, headers=headers)

    def _rates(self, seen: Seen) -> dict[str, str]:
        if seen.method == "GET":
            self.pulls += seen.status == 0
            seen.status = -1  # counted once
        if self.pull_limit is None:
            return {}
        window = f";w={self.rate_window}"
        return {
            "RateLimit-Limit": f"{self.pull_limit}{window}",
            "RateLimit-Remaining": f"{self.pull_limit - self.pulls}{window}",
            "Docker-RateLimit-Source": "127.0.0.1",
        }

    def _blob(self, seen: Seen, repository: _Repository) -> Plan:
        if seen.reference not in repository.blobs:
            return _error(404, "BLOB_UNKNOWN")
        content = self._blobs[seen.reference]
        headers = {"Docker-Content-Digest": seen.reference}
        if not self.use_cdn:
            return Plan(body=content, headers=headers)
        self._serial += 1
        signature = f"{self._serial}"
        self._links[signature] = self.reactor.seconds() + self.link_life
        link = f"{self.cdn.url}/data/{seen.reference}?verify={signature}"
        return attrs.evolve(
            answer(307, b'<a href="elsewhere">Temporary Redirect</a>.', "text/html")(Plan()),
            headers={**headers, "Location": link},
        )

    def _tags(self, seen: Seen, repository: _Repository) -> Plan:
        tags = sorted(repository.tags)
        last = seen.query.get("last", [""])[0]
        count = int(seen.query.get("n", ["1000"])[0])
        after = [tag for tag in tags if tag > last]
        page, headers = after[:count], {}
        if len(after) > count:
            query = f"last={page[-1]}&n={count}" if page else f"n={count}"
            headers["Link"] = f'</v2/{seen.name}/tags/list?{query}>; rel="next"'
        body = json.dumps({"name": seen.name, "tags": page}).encode()
        return Plan(body=Bytes(body), media_type="application/json", headers=headers)

    # CDN

    def _cdn(self, seen: Seen) -> Plan:
        self._number(seen)
        seen.kind = "blob" if seen.path.startswith("/data/") else "other"
        seen.reference = seen.path.removeprefix("/data/")
        if seen.header("authorization") is not None:
            return answer(400, b"<Error>Only one auth mechanism allowed</Error>", "text/xml")(
                Plan()
            )
        expires_at = self._links.get(seen.query.get("verify", [""])[0])
        if expires_at is None or expires_at <= self.reactor.seconds():
            return answer(403, b"<Error>Request has expired</Error>", "text/xml")(Plan())
        if seen.method == "HEAD" and not self.cdn_takes_head:
            return answer(403, b"", "text/xml")(Plan())
        return Plan(body=self._blobs[seen.reference])


def _error(status: int, code: str, **headers: str) -> Plan:
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Plan(status=status, body=Bytes(body), media_type="application/json", headers=headers)


def _name_parts(seen: Seen) -> None:
    path = seen.path.removeprefix("/v2/")
    if not path:
        seen.kind = "ping"
        return
    kinds = {"manifests": "manifest", "blobs": "blob", "tags": "tags", "referrers": "referrers"}
    name, _, reference = path.rpartition("/")
    name, _, kind = name.rpartition("/")
    seen.kind, seen.name, seen.reference = kinds.get(kind, "other"), name, reference


def _digest_of(content: Content) -> str:
    whole = hashlib.sha256()
    step = 4 * 1024 * 1024
    for start in range(0, content.size, step):
        whole.update(content.read(start, min(content.size, start + step)))
    return "sha256:" + whole.hexdigest()
