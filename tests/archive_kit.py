"""Images made for tests, as an OCI layout or as what ``docker save`` writes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from nodecache.archives import TarSource

OCI = "application/vnd.oci.image."
Files = dict[str, bytes]


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def layer(name: str, content: bytes) -> bytes:
    """A plain layer with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@attrs.frozen
class Made:
    """An image; ``blobs`` by digest, the manifest among them."""

    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...]
    blobs: dict[str, bytes]
    media_type: str = f"{OCI}manifest.v1+json"

    @property
    def digest(self) -> str:
        return sha(self.manifest)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        size = len(self.manifest)
        return {"mediaType": self.media_type, "digest": self.digest, "size": size, **more}


def made(contents: Iterable[bytes], *, zipped: bool = True, arch: str = "amd64") -> Made:
    """One layer for each of ``contents``."""
    plain = [layer(f"file-{number}", content) for number, content in enumerate(contents)]
    layers = [gzip.compress(each, mtime=0) if zipped else each for each in plain]
    config = dumped(
        {
            "architecture": arch,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha(each) for each in plain]},
        }
    )
    kind = f"{OCI}layer.v1.tar" + ("+gzip" if zipped else "")
    manifest = dumped(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}manifest.v1+json",
            "config": {
                "mediaType": f"{OCI}config.v1+json",
                "digest": sha(config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": kind, "digest": sha(each), "size": len(each)} for each in layers
            ],
        }
    )
    blobs = {sha(each): each for each in (manifest, config, *layers)}
    return Made(manifest, config, tuple(layers), blobs)


def indexed(images: Mapping[str, Made]) -> Made:
    """An index of images by platform."""
    manifests = []
    for platform, image in images.items():
        names = ("os", "architecture", "variant")
        described = dict(zip(names, platform.split("/"), strict=False))
        manifests.append(image.descriptor(platform=described))
    kind = f"{OCI}index.v1+json"
    body = dumped({"schemaVersion": 2, "mediaType": kind, "manifests": manifests})
    blobs = {sha(body): body}
    for image in images.values():
        blobs.update(image.blobs)
    return Made(body, b"", (), blobs, kind)


def name_of(name: str, tag: str = "") -> dict[str, str]:
    given = {"io.containerd.image.name": name} if name else {}
    if tag:
        given["org.opencontainers.image.ref.name"] = tag
    return given


def layout(*images: tuple[Made, dict[str, str]]) -> Files:
    """The files of an OCI layout, each image with its annotations."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    entries = [image.descriptor(annotations=given) for image, given in images]
    files["index.json"] = dumped({"schemaVersion": 2, "manifests": entries})
    for image, _ in images:
        for digest, body in image.blobs.items():
            files[f"blobs/sha256/{digest.removeprefix('sha256:')}"] = body
    return files


def saved(image: Made, *names: str, old: bool = True) -> Files:
    """As ``docker save`` wrote before release 25."""
    config = image.config
    files: Files = {f"{sha(config)[7:]}.json": config}
    paths = []
    for number, each in enumerate(image.layers):
        paths.append(f"{number:064x}/layer.tar" if old else f"blobs/sha256/{sha(each)[7:]}")
        files[paths[-1]] = each
    entry = {"Config": f"{sha(config)[7:]}.json", "RepoTags": list(names), "Layers": paths}
    files["manifest.json"] = dumped([entry])
    return files


def tarred(files: Files, *more: tarfile.TarInfo, kind: int = tarfile.GNU_FORMAT) -> bytes:
    """``files`` as a tar archive, with members without content behind them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for info in more:
            tar.addfile(info)
    return out.getvalue()


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def source(folder: pathlib.Path, archive: bytes) -> TarSource:
    path = folder / "archive.tar"
    path.write_bytes(archive)
    return TarSource(os.open(path, os.O_RDONLY))


def unpacked(folder: pathlib.Path, files: Files) -> pathlib.Path:
    """``files`` as a folder."""
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder
