"""``/api/v1/peers`` of the admin port."""

from __future__ import annotations

import json
from typing import Any

from nodecache.events import Unexpected
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address
from nodecache.metrics import Metrics
from nodecache.web import admin_site
from nodecache.web.api import BytesByRole, PeerRow, PeersSeenHere, PeerState, peers_api
from tests.loopback import WALL, LoopbackCase

ROW = PeerRow(
    id="node-2",
    addresses=(Address("10.0.0.2", 5001), Address("fd00::2", 5001)),
    zone="b",
    release="1.2.0",
    state=PeerState.ASIDE,
    aside_seconds=7.25,
    contact_seconds=61.00049,
    rtt_seconds=0.0004999,
    failures=3,
    busy=True,
    inbound=12_000_000,
    received=BytesByRole(owner=10, holder=20),
    sent=BytesByRole(owner=1, holder=2),
)
STRANGER = PeerRow(
    id="10.0.0.9:5001",
    addresses=(Address("10.0.0.9", 5001),),
    zone="",
    release="",
    state=PeerState.UNKNOWN,
)


class PeersApiTests(LoopbackCase):
    def make_site(self) -> Any:
        self.seen: Any = PeersSeenHere(
            id="node-1",
            zone="a",
            release="1.2.0",
            wire="1",
            addresses=(Address("10.0.0.1", 5001),),
            age_seconds=4.5,
            inbound=3_000_000,
            behind=True,
            peers=(ROW, STRANGER),
        )
        return admin_site(
            Metrics(),
            lambda: None,
            clock=self.clock,
            observe=self.events.append,
            wall=lambda: WALL,
            timeouts=Timeouts(),
            limits=Limits(),
            more=[self._api()],
        )

    def _api(self) -> Any:
        def seen() -> PeersSeenHere:
            if isinstance(self.seen, BaseException):
                raise self.seen
            found: PeersSeenHere = self.seen
            return found

        return peers_api(seen)

    async def test_the_view_and_every_peer_are_told(self) -> None:
        reply = await self.ask("/api/v1/peers")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("Content-Type"), "application/json; charset=utf-8")
        self.assertEqual(reply.header("Cache-Control"), "no-store")
        document = json.loads(reply.body)
        peers = document.pop("peers")
        self.assertEqual(
            document,
            {
                "id": "node-1",
                "zone": "a",
                "release": "1.2.0",
                "wire": "1",
                "addresses": ["10.0.0.1:5001"],
                "leaving": False,
                "inbound_bytes_per_second": 3_000_000,
                "behind": True,
                "age_seconds": 4.5,
                "off_seconds": None,
                "known": 2,
                "live": 0,
            },
        )
        self.assertEqual(
            peers[0],
            {
                "id": "node-2",
                "addresses": ["10.0.0.2:5001", "[fd00::2]:5001"],
                "zone": "b",
                "release": "1.2.0",
                "state": "aside",
                "busy": True,
                "inbound_bytes_per_second": 12_000_000,
                "aside_seconds": 7.25,
                "contact_seconds": 61.0,
                "rtt_seconds": 0.0,
                "failures": 3,
                "received_bytes": {"owner": 10, "holder": 20},
                "sent_bytes": {"owner": 1, "holder": 2},
            },
        )
        self.assertEqual((peers[1]["state"], peers[1]["rtt_seconds"]), ("unknown", None))
        self.assertIsNone(peers[1]["inbound_bytes_per_second"])

    async def test_head_has_the_same_headers_and_no_body(self) -> None:
        got, head = await self.ask("/api/v1/peers"), await self.ask("/api/v1/peers", "HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.header("Content-Length"), got.header("Content-Length"))

    async def test_nothing_can_be_changed(self) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            self.assertEqual((await self.ask("/api/v1/peers", method)).status, 405)

    async def test_a_name_that_a_stranger_chose_is_refused(self) -> None:
        self.assertEqual((await self.ask("/api/v1/peers", Host="evil.example")).status, 421)

    async def test_a_defect_is_a_clean_500_and_an_event(self) -> None:
        self.seen = ZeroDivisionError("a defect")
        reply = await self.ask("/api/v1/peers")
        self.assertEqual(reply.status, 500)
        self.assertNotIn(b"a defect", reply.body)
        self.assertEqual(len(self.told(Unexpected)), 1)
