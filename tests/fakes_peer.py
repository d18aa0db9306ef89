"""A peer that answers as a peer should, until it is told to lie.

``LyingPeer`` listens on a socket and speaks the wire with the project's own
codec. It has the blobs and manifests that it was given, and the lies that a
test tells it to:

    liar = LyingPeer(blobs={digest: data})
    address = liar.listen(reactor)
    liar.lie("cut", what="blob", times=1)    # one blob is cut in the middle
    liar.lie("stall")                         # everything stalls, for ever

``LIES`` names them all. It can be a process of its own as well:

    python -m tests.fakes_peer --port 5001 --secret-file secret --id node-3 \
        --blob-dir blobs --fault wrong-bytes --what blob
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from time import time
from typing import Any, Final
from zlib import crc32

import attrs
from twisted.internet.protocol import Factory

from nodecache.byteranges import Span
from nodecache.limits import CHECKSUM_BLOCK, WIRE_VERSION
from nodecache.membership import Address
from nodecache.peers.secrets import parse_secrets
from nodecache.peerwire import codec, signing
from nodecache.peerwire.answers import Absent, Bytes, Manifest
from nodecache.peerwire.hello import Hello, Known
from nodecache.peerwire.wishes import Fulfilment, Stage, encode_fulfilment
from nodecache.reference import Digest
from tests.fakes_peer_lies import LIES, NOTHING, Lie, Plan
from tests.fakes_peer_wire import Connection

SECRET: Final = b"the cluster's own secret"


@attrs.frozen
class Heard:
    """A request; ``verdict`` is what was made of its signature."""

    what: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    verdict: signing.Verdict


@attrs.define(eq=False)
class _Told:
    name: str
    lie: Lie
    what: str | None
    times: int | None


class LyingPeer(Factory):
    """``clock_off``: seconds by which its clock differs from ours.

    ``refuses`` requests are those whose signature it did not accept;
    ``heard`` are all, in order. ``suspected`` is what it was told of itself.
    """

    noisy = False

    def __init__(
        self,
        node: str = "liar",
        *,
        blobs: Mapping[Digest, bytes] | None = None,
        manifests: Mapping[str, Manifest] | None = None,
        secrets: Sequence[bytes] = (SECRET,),
        clock_off: float = 0.0,
        zone: str = "",
    ) -> None:
        self.node = node
        self.blobs = dict(blobs or {})
        self.manifests = dict(manifests or {})
        self.secrets = list(secrets)
        self.clock_off = clock_off
        self.zone = zone
        self.known: list[Known] = []
        self.heard: list[Heard] = []
        self.suspected: list[tuple[Digest, dict[int, tuple[int, ...]]]] = []
        self.warmed: list[str] = []
        self.fulfilment = Fulfilment(Stage.DONE)
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._lies: list[_Told] = []
        self._verifier = signing.Verifier(node, 30.0)
        self._last: bytes | None = None
        self._port: Any = None
        self.reactor: Any = None

    def listen(self, reactor: Any, port: int = 0, interface: str = "127.0.0.1") -> Address:
        self.reactor = reactor
        self._port = reactor.listenTCP(port, self, interface=interface)
        where = self._port.getHost()
        return Address(where.host, where.port)

    @property
    def address(self) -> Address:
        where = self._port.getHost()
        return Address(where.host, where.port)

    def _addresses(self) -> tuple[Address, ...]:
        return () if self._port is None else (self.address,)

    async def stop(self) -> None:
        """Refuse connections from now on, and end those there are."""
        if self._port is not None:
            port, self._port = self._port, None
            await port.stopListening()
        for connection in tuple(self.connections):
            connection.abort()

    def buildProtocol(self, addr: object) -> Connection:
        self.accepted += 1
        return Connection(self)

    def lie(self, name: str, *, what: str | None = None, times: int | None = None) -> None:
        """``what`` is blob, manifest, hello, ...; None is everything."""
        self._lies.append(_Told(name, LIES[name], what, times))

    def change(self, lie: Lie, *, what: str | None = None, times: int | None = None) -> None:
        """A lie of the test's own."""
        self._lies.append(_Told("", lie, what, times))

    def be_honest(self) -> None:
        self._lies.clear()

    def _lies_for(self, what: str) -> Iterator[_Told]:
        for told in tuple(self._lies):
            if told.what in (None, what) and told.times != 0:
                if told.times is not None:
                    told.times -= 1
                yield told

    # Answering

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Plan:
        what = target.partition("?")[0].rpartition("/")[2]
        asked = signing.Asked(
            method=method,
            target=target,
            node=headers.get("nodecache-peer", ""),
            to=headers.get("nodecache-to", ""),
            range=headers.get("range", ""),
            body=body,
        )
        now = int((time() + self.clock_off) * 1000)
        signature = headers.get("nodecache-signature")
        verdict = self._verifier.check(asked, signature, self.secrets, now)
        self.heard.append(Heard(what, method, target, headers, body, verdict))
        plan = self._honest(asked, what, verdict, now)
        for told in self._lies_for(what):
            plan = told.lie(plan)
            if told.name == "replay" and self._last is not None:
                plan = attrs.evolve(plan, raw=self._last)
        return plan

    def _honest(self, asked: signing.Asked, what: str, verdict: signing.Verdict, now: int) -> Plan:
        if isinstance(verdict, signing.Accepted):
            secret = self.secrets[verdict.secret]
            return self._plan(asked, what, secret)
        secret = self.secrets[getattr(verdict, "secret", 0)]
        if isinstance(verdict, signing.Misdirected):
            return Plan(status=421, headers={}, node=self.node, secret=secret)
        time_is = {"Nodecache-Time": str(now)}
        return Plan(status=401, headers=time_is, node=self.node, secret=secret, proof=False)

    def _plan(self, asked: signing.Asked, what: str, secret: bytes) -> Plan:
        data, span = b"", NOTHING
        try:
            if what == "blob":
                encoded, data, span = self._blob(asked)
            elif what == "manifest":
                encoded = self._manifest(asked)
            else:
                encoded = self._document(what, asked.body)
        except codec.WireFault as fault:
            encoded = codec.Encoded(400, {"Nodecache-Answer": "unclear"}, str(fault).encode())
        return Plan(
            status=encoded.status,
            headers=encoded.headers,
            body=encoded.body,
            data=data,
            span=span,
            node=self.node,
            secret=secret,
        )

    def _blob(self, asked: signing.Asked) -> tuple[codec.Encoded, bytes, Span]:
        question = codec.decode_blob(asked.target, asked.range)
        blob = self.blobs.get(question.digest)
        if blob is None or (question.span.start >= len(blob) and question.span.start):
            return codec.encode_answer(Absent()), b"", NOTHING
        span = Span(question.span.start, min(question.span.stop, len(blob)))
        carried = codec.encode_answer(Bytes(len(blob), ranged=True))
        if asked.method == "HEAD":
            return attrs.evolve(carried, body=b""), b"", NOTHING
        return carried, blob[span.start : span.stop], span

    def _manifest(self, asked: signing.Asked) -> codec.Encoded:
        question = codec.decode_manifest(asked.method, asked.target)
        reference = question.reference
        key = str(reference)
        if not isinstance(reference, Digest):
            key = f"{question.repository}:{reference}"
        manifest = self.manifests.get(key)
        if manifest is None:
            return codec.encode_answer(Absent())
        return codec.encode_answer(attrs.evolve(manifest, body=None) if question.head else manifest)

    def _document(self, what: str, body: bytes) -> codec.Encoded:
        if what == "hello":
            codec.decode_hello(body)
            here = tuple(each for each in self._addresses() if each.host not in ("0.0.0.0", "::"))
            hello = Hello(self.node, WIRE_VERSION, "0.0", self.zone, here, tuple(self.known))
            return codec.encode_document("hello", codec.encode_hello(hello))
        if what == "suspect":
            self.suspected.append(codec.decode_suspect(body))
        elif what == "warm":
            self.warmed.append("/".join(map(str, codec.decode_warm(body))))
            return codec.encode_document(what, encode_fulfilment(self.fulfilment))
        elif what != "status":
            return codec.Encoded(404, {"Nodecache-Answer": "unclear"})
        return codec.encode_document(what, json.dumps({"is": what}).encode())

    def said(self, raw: bytes) -> None:
        self._last = raw


def sums_of(blob: bytes, span: Span) -> tuple[int, ...]:
    """The CRC-32 of the blocks of a span."""
    return tuple(
        crc32(blob[at : min(at + CHECKSUM_BLOCK, span.stop)])
        for at in range(span.start, span.stop, CHECKSUM_BLOCK)
    )


def digest_of(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--interface", default="127.0.0.1")
    parser.add_argument("--secret-file", type=pathlib.Path, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--zone", default="")
    parser.add_argument("--fault", action="append", default=[], choices=[*LIES, "refuse"])
    parser.add_argument("--what", help="only these are lied about: blob, manifest, hello")
    parser.add_argument("--times", type=int, help="so many lies, then honest")
    parser.add_argument("--blob-dir", type=pathlib.Path, help="files, served by their digests")
    return parser.parse_args()


def main() -> None:
    """Serve until killed; says on standard output where it listens, and what it hears."""
    from twisted.internet import reactor  # noqa: PLC0415  # as a process only

    asked = _arguments()
    files = sorted(asked.blob_dir.iterdir()) if asked.blob_dir else []
    blobs = {digest_of(data): data for data in (file.read_bytes() for file in files)}
    liar = LyingPeer(
        asked.id,
        blobs=blobs,
        secrets=parse_secrets(asked.secret_file.read_bytes()),
        zone=asked.zone,
    )
    for name in asked.fault:
        if name != "refuse":
            liar.lie(name, what=asked.what, times=asked.times)
    if "refuse" not in asked.fault:
        where = liar.listen(reactor, asked.port, asked.interface)
        sys.stdout.write(f"listening on {where}\n")
    sys.stdout.flush()
    running: Any = reactor
    running.run()


if __name__ == "__main__":
    main()
