"""More parsers: of files that runtimes and people write, of archives, and of orders.

As ``fuzz``: what a parser says it raises is caught, anything else is a defect.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from nodecache.archives import TarSource, as_manifest, is_saved, read_layout, read_saved
from nodecache.archives.docker import SavedImage
from nodecache.archives.faults import BadArchive
from nodecache.byteranges import parse_range
from nodecache.cache.descriptors import named
from nodecache.config.settings import SizeSetting, parse_listen
from nodecache.config.units import parse_bytes, parse_duration, parse_percent
from nodecache.failures import ConfigError, Failure, RangeNotSatisfiable, UpstreamFailure
from nodecache.limits import MIB
from nodecache.membership.peer import Address
from nodecache.peers.secrets import parse_secrets
from nodecache.reference import Digest
from nodecache.reference.images import Pattern
from nodecache.runtimes import containerd, daemon_json, hosts_toml, kubelet, registries_conf, words
from nodecache.runtimes.names import Unusable, parse_mirror, parse_registry, parse_version
from nodecache.runtimes.toml import read_toml
from nodecache.steering.outline import outline
from nodecache.steering.unpacking import Unpacker
from nodecache.steering.verbs import Document, Refused
from nodecache.store import StoredManifest
from nodecache.traces import parse_traceparent
from nodecache.upstream.account import parse_credentials
from nodecache.upstream.fetched import judge_listing
from nodecache.upstream.proxy import parse_proxy
from nodecache.web.control_site import _parsed
from nodecache.web.lines import can_go_on, is_header, version_of
from tests.archive_kit import layout, made, name_of, saved, tarred

MIRROR: Final = "http://127.0.0.1:5000"
#: Bytes that are unpacked at most of one input.
_UNPACKED: Final = 8 * MIB


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def hosts_files(data: bytes) -> None:
    with suppress(Unusable):
        found = hosts_toml.parse(_text(data))
        for host in found.hosts:
            assert isinstance(host.can("pull"), bool)


def registries_files(data: bytes) -> None:
    with suppress(Unusable):
        for registry in registries_conf.parse(_text(data)):
            assert isinstance(registry.prefix, str)
    with suppress(Unusable):
        registries_conf.in_force([("a.conf", _text(data)), ("b.conf", _text(data))])


def daemon_files(data: bytes) -> None:
    with suppress(Unusable):
        document = daemon_json.parse(_text(data))
        assert all(isinstance(each, str) for each in daemon_json.mirrors_of(document))


def containerd_files(data: bytes) -> None:
    with suppress(Unusable):
        document = read_toml(_text(data))
        containerd.imports_of(document)
        config = containerd.read([document, document])
        for version in (None, (1, 7, 0), (2, 2, 0)):
            containerd.folders(config, version)


def kubelet_files(data: bytes) -> None:
    text = _text(data)
    with suppress(Unusable):
        kubelet.thresholds(None, words.environment_words(text))
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        if isinstance(document, dict):
            with suppress(Unusable):
                kubelet.thresholds(document, words.read_flags(text.split()))  # type: ignore[arg-type]


def names_of_people(data: bytes) -> None:
    text = _text(data)
    parsers: tuple[Callable[[str], Any], ...] = (
        parse_registry,
        parse_mirror,
        parse_bytes,
        parse_duration,
        parse_percent,
        parse_listen,
        parse_credentials,
        SizeSetting.parse,
        Address.parse,
    )
    for parse in parsers:
        with suppress(ValueError, ConfigError):  # Unusable is one as well
            parse(text)
    parse_version(text)
    with suppress(ConfigError):
        assert parse_proxy(text, "proxy").host
    with suppress(ValueError):
        assert all(len(secret) >= 16 for secret in parse_secrets(data))
    with suppress(RangeNotSatisfiable):
        parse_range(text, 1000)
    trace = parse_traceparent(text, "b" * 16)
    assert trace is None or len(trace.trace_id) == 32


def orders(data: bytes) -> None:
    with suppress(Refused):
        document = Document(_parsed(io.BytesIO(data)))
        for name in ("path", "images"):
            for read in (document.text, document.texts, document.flag, document.seconds):
                with suppress(Refused):
                    read(name)
        with suppress(Refused):
            for text in document.texts("images"):
                with suppress(Failure):
                    Pattern.parse(text, ("docker.io",))


def heads(data: bytes) -> None:
    for line in data.split(b"\r\n"):
        version = version_of(line)
        assert version in (None, 0, 1)
        if is_header(line, 1):
            assert b"\n" not in line
            assert line.partition(b":")[0].strip() == line.partition(b":")[0]
    can_go_on(data)


def manifests_seen(data: bytes) -> None:
    digest = Digest("sha256", "a" * 64)
    found = named(data)
    seen = outline(StoredManifest(digest, "text/x", data))
    assert len(seen.parts) == len(found.blobs)
    for part in seen.parts:
        assert part.size is None or part.size >= 0
    with suppress(UpstreamFailure):
        judge_listing(data, "application/json", None, None)


def archive_layouts(data: bytes) -> None:
    fd = os.memfd_create("archive")
    os.write(fd, data)
    with suppress(BadArchive):
        source = TarSource(fd)
        try:
            _look_into(source)
        finally:
            source.close()


def _look_into(source: TarSource) -> None:
    if not is_saved(source):
        for found in read_layout(source, MIB):
            assert found.bytes >= 0
        return
    for image in read_saved(source, MIB):
        _as_manifest(image)


def _as_manifest(image: SavedImage) -> None:
    digests = [each.digest or Digest("sha256", "a" * 64) for each in image.layers]
    document = as_manifest(image, digests).top
    assert json.loads(document.body)["schemaVersion"] == 2


def packed(data: bytes) -> None:
    unpacker, size = Unpacker(), 0
    with suppress(BadArchive):
        for at in range(0, max(1, len(data)), 97):
            size += len(unpacker.feed(data[at : at + 97]))
            while unpacker.has_more and size < _UNPACKED:
                size += len(unpacker.more())
        unpacker.finish()


_IMAGE: Final = made([b"x"])
_OCI: Final = tarred(layout((_IMAGE, name_of("docker.io/library/x:1"))))
_SAVED: Final = tarred(saved(_IMAGE, "x:1"))

#: Name, what is checked, and good inputs.
MORE: Final[tuple[tuple[str, Callable[[bytes], None], tuple[bytes, ...]], ...]] = (
    (
        "hosts.toml",
        hosts_files,
        (
            (
                b'server = "https://ghcr.io"\n[host."http://127.0.0.1:5000"]\n'
                b'capabilities = ["pull", "resolve"]\ndial_timeout = "1s"\n'
            ),
            b"host = 1\n",
            b"a = " + b"[" * 5000,
        ),
    ),
    (
        "registries.conf",
        registries_files,
        (
            (
                b'[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'
                b'[[registry.mirror]]\nlocation = "127.0.0.1:5000"\ninsecure = true\n'
            ),
            b"registry = [1]\n",
            b"a = " + b"{a=" * 5000,
            b"a = " + b"9" * 5000,
        ),
    ),
    (
        "daemon.json",
        daemon_files,
        (b'{"registry-mirrors": ["http://127.0.0.1:5000"]}', b"[" * 5000, b""),
    ),
    (
        "containerd's config.toml",
        containerd_files,
        (
            (
                b'version = 3\nimports = ["/etc/x/*.toml"]\n[plugins."io.containerd.cri.v1.images"'
                b'.registry]\nconfig_path = "/etc/containerd/certs.d"\n'
            ),
            b"version = 2\ndisabled_plugins = 5\n",
            b"a = " + b"[" * 5000,
            b"version = " + b"9" * 5000,
        ),
    ),
    (
        "kubelet's settings",
        kubelet_files,
        (
            b'{"imageGCHighThresholdPercent": 85, "evictionHard": {"imagefs.available": "15%"}}',
            b'{"imageGCHighThresholdPercent": 1e999}',
            b"--eviction-hard=imagefs.available<15%,nodefs.available<1Gi",
        ),
    ),
    (
        "names that people give",
        names_of_people,
        (
            b"ghcr.io",
            b"http://user:password@127.0.0.1:5000/",
            b"20GiB",
            b"1h30m",
            b"15%",
            b"[::1]:5000",
            b"bytes=0-5",
            b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
            b"containerd v" + b"9" * 5000 + b".1",
            b"a secret that is long enough\n",
        ),
    ),
    (
        "orders",
        orders,
        (
            b'{"path": "/x", "images": ["nginx:*"], "older_than": 5}',
            b'{"images": ["nginx:"]}',
            b"[" * 5000,
            b"9" * 5000,
        ),
    ),
    (
        "lines of a head",
        heads,
        (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",),
    ),
    ("manifests as people see them", manifests_seen, (_IMAGE.manifest, b'{"manifests": [{}, 1]}')),
    ("layouts of archives", archive_layouts, (_OCI, _SAVED)),
    ("compressed archives", packed, (gzip.compress(_OCI, 9), gzip.compress(b"x") * 3)),
)
