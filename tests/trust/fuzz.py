"""Every parser of what others send or left, as a function of bytes that must not break.

A target raises for a defect only: what a parser says it raises is caught here, and what it
accepts has to hold (a path that is read is spelt the same again, a span lies in its blob).
``mutations`` makes inputs out of good ones for Hypothesis; under atheris (``make trust``) the
same targets are driven by coverage (``coverage.py``).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import attrs
from hypothesis import strategies as st

from nodecache.archives.documents import read_document
from nodecache.archives.faults import BadArchive
from nodecache.archives.tar import read_members
from nodecache.byteranges import ContentRange, Span, parse_content_range, parse_range_header
from nodecache.challenge import parse_challenges, parse_token, realm_allowed
from nodecache.config import load
from nodecache.discovery import resolvconf
from nodecache.discovery.question import NoAnswer, Question, _read
from nodecache.failures import (
    BadRequest,
    ConfigError,
    RangeNotSatisfiable,
    UnknownNamespace,
    UpstreamFailure,
)
from nodecache.freshness import TagEntry
from nodecache.limits import MIB, SEGMENT
from nodecache.membership.target import parse_peers
from nodecache.peerwire import codec, signing
from nodecache.peerwire.frames import Checked, Decoder, Encoder, SumFault
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.peerwire.wishes import decode_fulfilment, decode_wish
from nodecache.reference import Digest
from nodecache.reference.images import parse_image
from nodecache.reference.names import Repository, Tag, parse_name, parse_reference
from nodecache.reference.paths import (
    BasePath,
    BlobPath,
    ManifestPath,
    ReferrersPath,
    TagsPath,
    parse_path,
)
from nodecache.reference.queries import parse_query
from nodecache.segments import segment_count
from nodecache.store.holds import named_digests
from nodecache.store.journal import read_journal, segment_line, total_line
from nodecache.store.tags import StoredListing, listing_from_bytes, listing_to_bytes
from nodecache.upstream.encoding import decoded
from nodecache.upstream.extents import judge_extent
from nodecache.upstream.fetched import judge_manifest
from nodecache.upstream.rates import parse_rates, parse_retry_after
from nodecache.upstream.redirects import next_url
from tests.trust.frames_of import frames_of
from tests.trust.fuzz_files import MORE

HEX: Final = "a" * 64
DIGEST: Final = Digest("sha256", HEX)
#: Bytes of the span that the frames' target reads.
FRAMED: Final = bytes(range(256)) * 12


@attrs.frozen
class Target:
    """``seeds`` are good inputs, and some that were bad once."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _paths(data: bytes) -> None:
    with suppress(BadRequest):
        path = parse_path(data)
        assert isinstance(path, BasePath | ManifestPath | BlobPath | TagsPath | ReferrersPath)
        if not isinstance(path, BasePath):
            assert parse_name(path.name) == path.name
            assert ".." not in path.name
            assert path.name.isascii()


def _queries(data: bytes) -> None:
    with suppress(BadRequest):
        query = parse_query(data)
        for text in (query.namespace, query.last, query.artifact_type):
            assert text is None or (text.isascii() and text.isprintable())


def _names(data: bytes) -> None:
    text = _text(data)
    with suppress(BadRequest):
        assert parse_name(text) == text
    with suppress(BadRequest):
        assert str(parse_reference(text)) == text
    with suppress(BadRequest, UnknownNamespace):
        image = parse_image(text, ("docker.io", "ghcr.io"))
        assert "/../" not in f"/{image.repository}/"
    with suppress(BadRequest, UnknownNamespace):
        namespace, _, name = text.partition(" ")
        found = Repository(namespace, name)
        assert "/" not in found.namespace
        assert found.namespace not in (".", "..")


def _ranges(data: bytes) -> None:
    request = parse_range_header(_text(data))
    for size in (1, 1000, 1 << 45):
        if request is not None:
            with suppress(RangeNotSatisfiable):
                span = request.resolve(size)
                assert 0 <= span.start < span.stop <= size


def _content_ranges(data: bytes) -> None:
    with suppress(ValueError):
        held = parse_content_range(_text(data))
        assert isinstance(held, ContentRange)
        assert parse_content_range(str(held)) == held
    with suppress(ValueError):
        extent = judge_extent(206, None, _text(data), Span(100, 200), DIGEST)
        assert extent.start == 100
        assert extent.stop_at is not None
        assert extent.stop_at <= 200


def _challenges(data: bytes) -> None:
    for challenge in parse_challenges(_text(data).split("\n")):
        realm = getattr(challenge, "realm", "")
        if realm_allowed(realm, "https://registry-1.docker.io", ()):
            host = realm.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]
            host = host.partition(":")[0].lower()
            assert host == "docker.io" or host.endswith(".docker.io"), realm


def _tokens(data: bytes) -> None:
    with suppress(ValueError):
        token = parse_token(data, 1e9)
        assert token.expires_at > 1e9
        assert token.value.isascii()
        assert token.value.isprintable()
    for encoding in ("gzip", "identity", _text(data[:20])):
        with suppress(UpstreamFailure):
            assert len(decoded(data, encoding, 1000)) <= max(1000, len(data))


def _manifests(data: bytes) -> None:
    with suppress(UpstreamFailure):
        found = judge_manifest(data, "text/x; a=b", None, None)
        assert found.digest.hex == hashlib.sha256(data).hexdigest()
        assert found.media_type.isascii()
        assert "\n" not in found.media_type
    for digest in named_digests(data):
        assert Digest.parse(str(digest)) == digest


def _upstream_headers(data: bytes) -> None:
    text = _text(data)
    parse_rates(lambda _name: text, 1e9)
    pause = parse_retry_after(text, 1e9)
    assert pause is None or pause == pause
    with suppress(UpstreamFailure):
        url = next_url("https://registry-1.docker.io/v2/x/blobs/y", text)
        assert url.startswith("https://")
        assert "@" not in url.split("/")[2]


def _peer_questions(data: bytes) -> None:
    target, _, ranged = _text(data).partition("\n")
    with suppress(codec.WireFault):
        question = codec.decode_blob(target, ranged)
        assert question.span.start // SEGMENT == (question.span.stop - 1) // SEGMENT
        again, headers = codec.encode_blob(question)
        assert codec.decode_blob(again, headers["Range"]) == question
    with suppress(codec.WireFault):
        asked = codec.decode_manifest("GET", target)
        method, again = codec.encode_manifest(asked)
        assert codec.decode_manifest(method, again) == asked


def _peer_answers(data: bytes) -> None:
    lines = _text(data).split("\n")
    pairs = [(name.strip(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]
    with suppress(codec.WireFault):
        fields = codec.fields_of(pairs)
        for status in (200, 202, 206, 403, 404, 502, 503):
            with suppress(codec.WireFault):
                codec.decode_blob_answer(status, fields)
            for body in (None, data):
                with suppress(codec.WireFault):
                    codec.decode_manifest_answer(status, fields, body)
    verifier = signing.Verifier("me", 30.0)
    asked = signing.Asked("GET", "/peer/v1/blob", "you", "me", "", b"")
    verdict = verifier.check(asked, _text(data), [b"secret"], 1_000_000)
    assert not isinstance(verdict, signing.Accepted)


def _peer_documents(data: bytes) -> None:
    for decode in (codec.decode_hello, codec.decode_suspect, codec.decode_warm, decode_wish):
        with suppress(codec.WireFault):
            decode(data)
    with suppress(codec.WireFault):
        decode_fulfilment(codec.decode_object(data))


def _frames(data: bytes) -> None:
    """However they are cut, bytes that are given on are the sender's or have its sum."""
    decoder = Decoder(Span(0, len(FRAMED)))
    given = 0
    step = 1 + len(data) % 97
    try:
        for at in range(0, len(data), step):
            for event in decoder.feed(data[at : at + step]):
                if isinstance(event, Checked):
                    given += sum(map(len, event.pieces))
    except (SumFault, codec.WireFault):
        return
    assert given <= len(FRAMED)


def _resolv_conf(data: bytes) -> None:
    conf = resolvconf.parse(data.decode("utf-8", "replace"))
    assert 1 <= len(conf.servers) <= resolvconf.MOST_SERVERS
    assert 0 <= conf.ndots <= resolvconf.MOST_NDOTS
    assert all(len(name) <= 253 for name in conf.candidates("nodecache-peers"))


def _dns(data: bytes) -> None:
    for kind in ("A", "AAAA"):
        question = Question("peers.example", kind, int.from_bytes(data[:2], "big"))
        message = question.decode(data)
        if message is not None:
            with suppress(NoAnswer):
                for address in _read(message, question).addresses:
                    assert (":" in address) == (kind == "AAAA")


def _peers_setting(data: bytes) -> None:
    with suppress(ValueError):
        parse_peers(_text(data))


def _tag_files(data: bytes) -> None:
    entry = TagEntry.from_json(data)
    if entry is not None:
        assert TagEntry.from_json(entry.to_json()) == entry
    listing_from_bytes(data)


def _journals(data: bytes) -> None:
    known = read_journal(data)
    if known.segments:
        assert known.total is not None
        assert max(known.segments) < segment_count(known.total)


def _archives(data: bytes) -> None:
    with suppress(BadArchive):
        for member in read_members(lambda at, size: data[at : at + size], len(data)).values():
            assert 0 <= member.offset <= member.offset + member.size <= len(data)
            assert ".." not in member.name.split("/")
    with suppress(BadArchive):
        read_document(data, Digest("sha256", hashlib.sha256(data).hexdigest()))


def _settings(data: bytes) -> None:
    with suppress(ConfigError):
        load({}, {}, data.decode("utf-8", "replace"), "nodecache.toml")


def _archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("oci-layout", "blobs/sha256/" + HEX):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"12345"))
    return made.getvalue()[:4096]


def _questions() -> tuple[bytes, ...]:
    repository = Repository("docker.io", "library/app")
    blob = BlobQuestion(repository, DIGEST, Span(0, 100), Mode.MAY_FETCH, 5.0)
    target, headers = codec.encode_blob(blob)
    asked = ManifestQuestion(repository, Tag("1"), Mode.ONLY_IF_HAVE, 5.0, head=False)
    return (f"{target}\n{headers['Range']}".encode(), codec.encode_manifest(asked)[1].encode())


def _hub_manifest() -> bytes:
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 5}
    layers = [{**layer, "digest": str(DIGEST)}]
    return json.dumps({"schemaVersion": 2, "config": layers[0], "layers": layers}).encode()


_TOKEN: Final = b'{"token": "abc", "expires_in": 300, "issued_at": "2026-11-26T10:00:00Z"}'
_CONF: Final = b"nameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n"
_ANSWER: Final = (
    b"\x00\x07\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x05peers\x07example\x00\x00\x01\x00\x01"
    b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01"
)
_TOML: Final = b"""tag_ttl = "5m"
max_size = "20GiB"
peers = "nodecache-peers"
[upstreams."docker.io"]
url = "https://registry-1.docker.io"
mirrors = ["https://mirror.gcr.io"]
allow = ["library/*"]
[limits]
fills = 4
header_bytes = "64KiB"
[timeouts]
answer = "5s"
"""
#: What the other has not.
_MORE_TOML: Final = b"""listen = "localhost:5000"
offline = true
upstream = "docker.io=http://127.0.0.1:5000"
peers = "10.0.0.1:5001"
peer_listen = "[::]:5001"
node_address = "10.0.0.1"
node_id = "node-1"
zone = "a"
"""
_TABLE_TOML: Final = b"""[upstreams."docker.io"]
url = "https://registry-1.docker.io"
proxy = "http://proxy.corp:3128"
realm_hosts = ["auth.docker.io"]
[upstreams."docker.io".account]
file = "/etc/x"
repositories = ["acme/tool"]
"""
_HELLO: Final = (
    b'{"id": "node-1", "wire": "1", "release": "1.0", "zone": "a", "addresses": ["10.0.0.1:5001"],'
    b' "known": [{"id": "node-2", "address": "10.0.0.2:5001", "zone": "b", "age": 1000}]}'
)

TARGETS: Final = tuple(
    Target(name, check, seeds)
    for name, check, seeds in (
        (
            "paths",
            _paths,
            (
                b"/v2/library/app/manifests/latest",
                f"/v2/a/blobs/sha256:{HEX}".encode(),
                b"/v2/a%2f..%2fb/tags/list",
            ),
        ),
        ("queries", _queries, (b"ns=docker.io&n=10&last=a", b"artifactType=application%2Fx")),
        (
            "names",
            _names,
            (b"ghcr.io/x/y:1.2", f"nginx@sha256:{HEX}".encode(), b"docker.io library/app"),
        ),
        ("ranges", _ranges, (b"bytes=0-", b"bytes=5-10", b"bytes=-5", b"bytes=0-1, 3-4")),
        ("content ranges", _content_ranges, (b"bytes 100-199/1000", b"bytes */5", b"bytes 1-2/*")),
        (
            "challenges",
            _challenges,
            (
                b'Bearer realm="https://auth.docker.io/token",service="x",scope="a:b:pull"',
                b'Basic realm="x", Bearer realm="http://evil\\"@docker.io"',
            ),
        ),
        ("tokens", _tokens, (_TOKEN, b'{"access_token": "x", "expires_in": -5}')),
        ("manifests", _manifests, (_hub_manifest(), b'{"manifests": []}', b"[" * 500)),
        (
            "upstream headers",
            _upstream_headers,
            (b"100;w=21600", b"Thu, 26 Nov 2026 10:00:00 GMT", b"//cdn.example/x?y#z", b"1e400"),
        ),
        ("peer questions", _peer_questions, _questions()),
        ("peer answers", _peer_answers, (b"Nodecache-Answer: bytes\nNodecache-Total: 5",)),
        ("peer documents", _peer_documents, (_HELLO, b'{"stage": "done"}')),
        ("peer frames", _frames, (frames_of(Encoder(Span(0, len(FRAMED))), FRAMED),)),
        ("resolv.conf", _resolv_conf, (_CONF, b"nameserver ::1\ndomain x.\noptions ndots:99\n")),
        ("DNS messages", _dns, (_ANSWER,)),
        ("peers setting", _peers_setting, (b"nodecache-peers:5001", b"10.0.0.1:5001,[::1]:5001")),
        (
            "tag files",
            _tag_files,
            (
                TagEntry(str(DIGEST), "text/x", 5, 1e9).to_json(),
                listing_to_bytes(StoredListing(b"{}", "text/x", None, 1e9, None)),
            ),
        ),
        ("journals", _journals, (total_line(9 * MIB) + segment_line(1, [5]),)),
        ("archives", _archives, (_archive(),)),
        (
            "settings",
            _settings,
            (
                _TOML,
                _MORE_TOML,
                _TABLE_TOML,
                b"[timeouts]\nanswer = 1e999\n",
                b"a = " + b"9" * 5000,
                b"a = " + b"[" * 5000,
            ),
        ),
        *MORE,
    )
)


def mutations(target: Target) -> st.SearchStrategy[bytes]:
    """Any bytes, and good inputs with pieces taken out, doubled, or put in."""
    if not target.seeds:
        return st.binary(max_size=200)

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(target.seeds))
        for _ in range(draw(st.integers(0, 4))):
            at, more = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
            piece = draw(st.sampled_from(["out", "in", "twice", "flip"]))
            if piece == "out":
                data = data[:at] + data[at + more :]
            elif piece == "in":
                data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
            elif piece == "twice":
                data = data[: at + more] + data[at:]
            elif at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << more % 8)]) + data[at + 1 :]
        return data

    return st.one_of(changed(), st.binary(max_size=200))
