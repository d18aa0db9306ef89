"""The upstream: images as plain files behind nginx, with what a registry's answers need.

Anonymous and without redirects, so that every cache can stand before it, nginx
too. Its access log counts what it sent. It is also nginx as a server of warm
blobs: nothing is between a client and sendfile.
"""

from __future__ import annotations

import hashlib
import os
import pathlib

import attrs

from bench.parts.nginx import Nginx
from tests.system.parts.certificates import Identity
from tests.system.parts.images import Blob, Image, Manifest
from tests.system.parts.processes import Child, free_port

HOST = "127.0.0.2"

_SERVER = """\
    map $uri $tag_digest {{ {digests} }}
    server {{
        listen {host}:{port} backlog=4096;
        {secure}
        access_log {log} ask;
        limit_rate {rate};
        location = /status {{ access_log off; limit_rate 0; stub_status; }}
        location = /v2/ {{ default_type application/json; return 200 "{{}}"; }}
        location ~ ^/v2/.+/blobs/sha256:(?<hex>[0-9a-f]+)$ {{
            alias {tree}/blobs/$hex;
            add_header Docker-Content-Digest sha256:$hex;
        }}
        location ~ ^/v2/.+/manifests/sha256:(?<hex>[0-9a-f]+)$ {{
            default_type {kind};
            alias {tree}/manifests/$hex;
            add_header Docker-Content-Digest sha256:$hex;
        }}
        location ~ ^/v2/(?<name>.+)/manifests/(?<tag>[^:/]+)$ {{
            default_type {kind};
            alias {tree}/tags/$name/$tag;
            add_header Docker-Content-Digest $tag_digest;
        }}
    }}
"""


@attrs.define
class Shelf:
    """Images and blobs in a folder, all of one kind of manifest; kept for several origins."""

    folder: pathlib.Path
    tags: dict[str, str] = attrs.Factory(dict)
    kind: str = "application/vnd.oci.image.manifest.v1+json"

    def add(self, name: str, manifest: Manifest, tag: str = "latest") -> Image:
        """What a push would do."""
        for blob in manifest.all_blobs():
            self.put(blob)
        self._write(f"manifests/{manifest.digest.partition(':')[2]}", manifest.body)
        self._write(f"tags/{name}/{tag}", manifest.body)
        self.tags[f"/v2/{name}/manifests/{tag}"] = manifest.digest
        return Image(name, tag, manifest)

    def put(self, blob: Blob) -> None:
        path = self.path(blob.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for chunk in blob.chunks():
                file.write(chunk)
        # Not to be written out while something is measured.
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def sparse(self, size: int) -> Blob:
        """A blob of zeros, which takes no room on disk here."""
        new = self.folder / "new"
        new.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb+") as file:
            file.truncate(size)
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        new.rename(path)
        return Blob(digest, size, list)

    def path(self, digest: str) -> pathlib.Path:
        return self.folder / "blobs" / digest.partition(":")[2]

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@attrs.define
class Origin:
    """``secure_url`` is the same over TLS, where a certificate was given."""

    part: Nginx
    log: pathlib.Path
    secure_url: str = ""
    name: str = "nginx"

    @property
    def url(self) -> str:
        return self.part.url

    @property
    def address(self) -> tuple[str, int]:
        return self.part.host, self.part.port

    @property
    def child(self) -> Child:
        assert self.part.child is not None
        return self.part.child

    def mark(self) -> int:
        """Where the log stands, once no request is under way."""
        self.part.quiet()
        return self.log.stat().st_size

    def sent(self, mark: int, digest: str = "") -> int:
        """Bytes of bodies of blobs since ``mark``: of one, or of all."""
        self.part.quiet()
        with self.log.open("rb") as file:
            file.seek(mark)
            asks = [line.split() for line in file.read().decode().splitlines()]
        wanted = f"/blobs/{digest}"
        return sum(int(size) for method, uri, _, size in asks if method == "GET" and wanted in uri)


def origin(
    folder: pathlib.Path,
    shelf: Shelf,
    *,
    host: str = HOST,
    rate: int = 0,
    identity: Identity | None = None,
) -> Origin:
    """Not yet started. ``rate`` is bytes a second for each connection, 0 for no limit."""
    folder.mkdir(parents=True, exist_ok=True)
    log, number, secure, listen = folder / "asks.log", free_port(host), "", ""
    log.touch()
    if identity is not None:
        tls_port = free_port(host)
        secure = f"https://{host}:{tls_port}"
        listen = (
            f"listen {host}:{tls_port} ssl backlog=4096;"
            f" ssl_certificate {identity.certificate_file};"
            f" ssl_certificate_key {identity.key_file};"
        )
    text = _SERVER.format(
        digests=" ".join(f"{uri} {digest};" for uri, digest in shelf.tags.items()),
        host=host,
        port=number,
        secure=listen,
        log=log,
        rate=rate,
        tree=shelf.folder,
        kind=shelf.kind,
    )
    return Origin(Nginx(folder, host, number, text), log, secure)
