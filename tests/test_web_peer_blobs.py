"""Bytes of blobs for peers: whole, growing, failing, and cut off at every stage."""

from __future__ import annotations

from nodecache.byteranges import Span
from nodecache.events import PeerBytes
from nodecache.limits import MIB, SEGMENT
from nodecache.peerwire.answers import Bytes
from tests.fakes_registry import some_bytes
from tests.peer_case import PeerCase, question

BIG = some_bytes(2 * SEGMENT + 3 * MIB + 12345)


class BytesTests(PeerCase):
    async def test_spans_come_as_they_are_with_their_sums(self) -> None:
        digest = self.peers.add_blob(self.whole(BIG), BIG)
        spans = [
            Span(0, SEGMENT),
            Span(SEGMENT, 2 * SEGMENT),
            Span(2 * SEGMENT, len(BIG)),
            Span(1, 2),
            Span(MIB - 1, MIB + 1),
            Span(300_001, 5 * MIB + 7),
            Span(len(BIG) - 1, len(BIG)),
        ]
        for span in spans:
            answer, data = await self.bytes_of(self.asking(question(digest, span)), span)
            self.assertEqual(answer, Bytes(len(BIG), ranged=True))
            self.assertEqual(data, BIG[span.start : span.stop])
        told = await self.answered(len(spans))
        self.assertEqual(
            {(t.what, t.mode, t.outcome) for t in told}, {("blob", "only-if-have", "hit")}
        )
        out = [(e.peer, e.direction, e.role, e.bytes) for e in self.told(PeerBytes)]
        self.assertEqual(out, [("node-2", "out", "holder", span.size) for span in spans])
