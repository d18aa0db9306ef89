"""Images from nothing: layers, configs, manifests and indexes, pushed by the upload API."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import random
import subprocess
import tarfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import attrs

from tests.system.parts.hub import Hub

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA2_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

_CONFIG = {
    SCHEMA2: "application/vnd.docker.container.image.v1+json",
    OCI: "application/vnd.oci.image.config.v1+json",
}
_LAYER = {
    (SCHEMA2, "gzip"): "application/vnd.docker.image.rootfs.diff.tar.gzip",
    (SCHEMA2, "none"): "application/vnd.docker.image.rootfs.diff.tar",
    (OCI, "gzip"): "application/vnd.oci.image.layer.v1.tar+gzip",
    (OCI, "zstd"): "application/vnd.oci.image.layer.v1.tar+zstd",
    (OCI, "none"): "application/vnd.oci.image.layer.v1.tar",
}

MIB = 1 << 20


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@attrs.frozen
class Blob:
    """A blob whose bytes come from ``chunks``, as often as they are asked for."""

    digest: str
    size: int
    chunks: Callable[[], Iterable[bytes]] = attrs.field(repr=False, eq=False)

    @classmethod
    def of(cls, data: bytes) -> Blob:
        return cls(digest_of(data), len(data), lambda: [data])


@attrs.frozen
class Layer:
    """A tar; ``diff_id`` is the digest of the tar itself, before compression."""

    blob: Blob
    diff_id: str
    compression: str


@attrs.frozen
class Manifest:
    """Bytes as they are pushed, with everything below them."""

    media_type: str
    body: bytes
    blobs: tuple[Blob, ...] = ()
    children: tuple[Manifest, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.body)

    def all_blobs(self) -> list[Blob]:
        """Each blob once, of this manifest and of its children."""
        found = {blob.digest: blob for blob in self.blobs}
        for child in self.children:
            found |= {blob.digest: blob for blob in child.all_blobs()}
        return list(found.values())

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.body),
            **more,
        }


@attrs.frozen
class Image:
    """What was pushed as ``name:tag``."""

    name: str
    tag: str
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def reference(self) -> str:
        return f"docker.io/{self.name}:{self.tag}"

    def platform(self, architecture: str = "amd64") -> Manifest:
        """The image manifest that a machine of ``architecture`` runs."""
        if not self.manifest.children:
            return self.manifest
        entries = json.loads(self.manifest.body)["manifests"]
        for entry, child in zip(entries, self.manifest.children, strict=True):
            if entry.get("platform", {}).get("architecture") == architecture:
                return child
        raise LookupError(f"{self.reference} has no manifest for {architecture}")


def noise(size: int, seed: object) -> bytes:
    """Bytes that do not compress; the same for the same ``seed``."""
    return random.Random(str(seed)).randbytes(size)


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def layer(files: dict[str, bytes], compression: str = "gzip") -> Layer:
    plain = tar(files)
    if compression == "gzip":
        packed = gzip.compress(plain, 1, mtime=0)
    elif compression == "zstd":
        packed = subprocess.run(
            ["zstd", "-q", "-1", "-c"], input=plain, capture_output=True, check=True
        ).stdout
    else:
        packed = plain
    return Layer(Blob.of(packed), digest_of(plain), compression)


def empty_layer() -> Layer:
    """The layer of an instruction that changed no file: an empty tar."""
    return layer({})


def huge_layer(size: int, seed: object, name: str = "huge.bin") -> Layer:
    """A plain tar of one file of ``size`` bytes (whole MiB), never held in memory."""
    head = tarfile.TarInfo(name)
    head.size = size
    pieces = [noise(MIB, (seed, number)) for number in range(8)]

    def chunks() -> Iterator[bytes]:
        yield head.tobuf(tarfile.GNU_FORMAT)
        for number in range(size // MIB):
            # Each MiB differs from all others, at the price of its first bytes.
            yield number.to_bytes(8, "big") + pieces[number % 8][8:]
        yield bytes(2 * tarfile.BLOCKSIZE)

    total, digest = 0, hashlib.sha256()
    for chunk in chunks():
        total += len(chunk)
        digest.update(chunk)
    name_of = f"sha256:{digest.hexdigest()}"
    return Layer(Blob(name_of, total, chunks), name_of, "none")


def image(
    layers: Sequence[Layer], *, media_type: str = OCI, architecture: str = "amd64", **labels: str
) -> Manifest:
    """A runnable image's manifest, in the Docker or in the OCI form."""
    config = Blob.of(
        json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Cmd": ["/bin/none"], "Labels": labels},
                "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
                "history": [
                    {"created": "2026-01-01T00:00:00Z", "created_by": f"layer {number}"}
                    for number, _ in enumerate(layers)
                ],
            }
        ).encode()
    )
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(_CONFIG[media_type], config),
        "layers": [_descriptor(_LAYER[media_type, one.compression], one.blob) for one in layers],
    }
    # Indented, so that a cache which wrote it anew would be found out.
    text = json.dumps(body, indent=3).encode()
    return Manifest(media_type, text, (config, *(one.blob for one in layers)))


def artifact(kind: str, layers: Sequence[tuple[str, bytes]]) -> Manifest:
    """A manifest of the OCI form whose config and layers are of types of its own."""
    config = Blob.of(b"{}")
    blobs = [Blob.of(data) for _, data in layers]
    body = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "artifactType": kind,
        "config": _descriptor("application/vnd.oci.empty.v1+json", config),
        "layers": [
            _descriptor(of_type, blob) for (of_type, _), blob in zip(layers, blobs, strict=True)
        ],
        "annotations": {"org.example.note": "nobody knows these media types"},
    }
    return Manifest(OCI, json.dumps(body, indent=2).encode(), (config, *blobs))


def attestation(of: Manifest) -> Manifest:
    """What buildkit adds to an index for each image: a statement, of platform unknown."""
    statement = Blob.of(json.dumps({"subject": of.digest, "predicate": {}}).encode())
    config = Blob.of(
        json.dumps({"architecture": "unknown", "os": "unknown", "rootfs": {}}).encode()
    )
    body = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": _descriptor(_CONFIG[OCI], config),
        "layers": [
            {
                **_descriptor("application/vnd.in-toto+json", statement),
                "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
            }
        ],
    }
    return Manifest(OCI, json.dumps(body).encode(), (config, statement))


def index(
    images: dict[str, Manifest], *, media_type: str = OCI_INDEX, attested: bool = False
) -> Manifest:
    """An index over ``images`` by architecture, with attestation entries where wanted."""
    entries, children = [], []
    for architecture, one in images.items():
        platform = {"architecture": architecture, "os": "linux"}
        if architecture == "arm64":
            platform["variant"] = "v8"
        entries.append(one.descriptor(platform=platform))
        children.append(one)
    for one in list(children) if attested else []:
        statement = attestation(one)
        notes = {
            "vnd.docker.reference.digest": one.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        nowhere = {"architecture": "unknown", "os": "unknown"}
        entries.append(statement.descriptor(platform=nowhere, annotations=notes))
        children.append(statement)
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return Manifest(media_type, json.dumps(body, indent=2).encode(), (), tuple(children))


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


@attrs.define
class Pusher:
    """Pushes to the Hub's registry with a token of its own."""

    hub: Hub

    def push(self, name: str, tag: str, manifest: Manifest) -> Image:
        """Blobs, then children, then the manifest as ``name:tag``."""
        token = self.hub.tokens.sign((f"repository:{name}:pull,push",), push=True)
        with _Session(self.hub.backend, name, token) as session:
            for blob in manifest.all_blobs():
                session.upload(blob)
            for child in manifest.children:
                session.put_manifest(child.digest, child)
            session.put_manifest(tag, manifest)
        return Image(name, tag, manifest)

    def delete(self, image: Image) -> None:
        """Take the manifest away, as its owner would."""
        token = self.hub.tokens.sign((f"repository:{image.name}:pull,push,delete",), push=True)
        with _Session(self.hub.backend, image.name, token) as session:
            session.delete_manifest(image.digest)


class _Session:
    """One keep-alive connection to the registry for one repository."""

    def __init__(self, address: tuple[str, int], name: str, token: str) -> None:
        self.http = http.client.HTTPConnection(*address, timeout=120)
        self.base = f"/v2/{name}"
        self.authorization = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(
        self, method: str, path: str, wanted: set[int], body: Any = None, **headers: str
    ) -> tuple[int, str]:
        """Status and Location; an answer outside ``wanted`` is an AssertionError."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.http.request(method, path, body, {**self.authorization, **named})
        answer = self.http.getresponse()
        words = answer.read()
        if answer.status not in wanted:
            raise AssertionError(f"{method} {path}: {answer.status} {words[:300]!r}")
        return answer.status, answer.getheader("Location", "")

    def upload(self, blob: Blob) -> None:
        status, _ = self.ask("HEAD", f"{self.base}/blobs/{blob.digest}", {200, 307, 404})
        if status != 404:
            return
        _, place = self.ask("POST", f"{self.base}/blobs/uploads/", {202}, Content_Length="0")
        joint = "&" if urllib.parse.urlsplit(place).query else "?"
        target = f"{place}{joint}digest={urllib.parse.quote(blob.digest)}"
        self.ask(
            "PUT",
            target,
            {201},
            iter(blob.chunks()),
            Content_Length=str(blob.size),
            Content_Type="application/octet-stream",
        )

    def put_manifest(self, reference: str, manifest: Manifest) -> None:
        self.ask(
            "PUT",
            f"{self.base}/manifests/{reference}",
            {201},
            manifest.body,
            Content_Type=manifest.media_type,
        )

    def delete_manifest(self, digest: str) -> None:
        self.ask("DELETE", f"{self.base}/manifests/{digest}", {202})
