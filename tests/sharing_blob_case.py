"""A shared blob between a scripted cluster and a scripted upstream, on a clock."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache import segments
from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.events import Event
from nodecache.failures import PeerKind, UpstreamFailure
from nodecache.limits import KIB, Limits, Timeouts
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody
from nodecache.sharing.blob import SharedBlob
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.places import UpstreamPlaces
from nodecache.sharing.suspicions import Suspicions
from nodecache.sharing.tools import Tools
from tests.fakes_cluster import FakeCluster, FakePeer
from tests.fakes_source import FakeBody, Origin

SEGMENT = 8 * KIB
ALPINE = Repository("docker.io", "library/alpine")
DIGEST = Digest("sha256", "ab" * 32)
#: Ten segments, so eight lanes.
DATA = random.Random(5).randbytes(10 * SEGMENT - 100)


class StrictClock(Clock):
    """Refuses what a reactor refuses."""

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 -- Twisted's name for it
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        assert delay >= 0, "a time before now"
        return super().callLater(delay, callable, *args, **kw)


class SharingCase(SynchronousTestCase):
    """``a`` to ``d`` are peers, which rank in this order, and this node last."""

    ids: tuple[str, ...] = ("a", "b", "c", "d")

    def setUp(self) -> None:
        self.patch(segments, "SEGMENT", SEGMENT)
        self.clock = StrictClock()
        self.events: list[Event] = []
        self.aside: list[str] = []
        self.certain: list[str] = []
        self.origin = Origin()
        self.origin.blobs[DIGEST] = DATA
        self.cluster = FakeCluster(*(FakePeer(each) for each in self.ids), clock=self.clock)
        self.down: UpstreamFailure | None = None
        self.offline = False
        self.size: int | None = None
        self.limits = Limits(connections_per_node=3, connections_per_blob=2, peer_sweep=2)
        self.timeouts = Timeouts()
        self.make_tools()
        self.blob = self.make_blob()
        self.bodies: list[BlobBody] = []

    def put_aside(self, peer: str, kind: PeerKind) -> None:
        self.aside.append(peer)
        if kind is PeerKind.CORRUPT:
            self.certain.append(peer)

    def make_tools(self) -> None:
        timeouts, limits, clock = self.timeouts, self.limits, self.clock
        self.places = UpstreamPlaces(
            limits.connections_per_node, limits.connections_per_blob, clock
        )
        self.suspicions = Suspicions(
            self.cluster, clock, self.events.append, self.put_aside, timeouts
        )
        self.tools = Tools(
            cluster=self.cluster,
            duties=Duties(),
            asking=Asking(),
            places=self.places,
            suspicions=self.suspicions,
            clock=clock,
            limits=limits,
            timeouts=timeouts,
            offline=lambda: self.offline,
            size_of=lambda _: self.size,
        )

    def make_blob(self) -> SharedBlob:
        source = self.origin.source(ALPINE, DIGEST)
        return SharedBlob(self.tools, ALPINE, DIGEST, source, lambda: self.down)

    def begin(
        self, segment: int = 0, *, seconds: float = 10.0, blob: SharedBlob | None = None
    ) -> Deferred[BlobBody]:
        """Ask for ``segment``."""
        span = Span(segment * SEGMENT, (segment + 1) * SEGMENT)
        deadline = Deadline(self.clock.seconds() + seconds)
        fetching = Deferred.fromCoroutine((blob or self.blob).fetch(span, deadline))
        fetching.addCallback(self.keep)
        return fetching

    def keep(self, body: BlobBody) -> BlobBody:
        self.bodies.append(body)
        return body

    def fetch(self, segment: int = 0) -> BlobBody:
        return self.successResultOf(self.begin(segment))

    def refused(self, fetching: Deferred[BlobBody]) -> UpstreamFailure:
        failure: UpstreamFailure = self.failureResultOf(fetching, UpstreamFailure).value
        return failure

    def read(self, body: BlobBody) -> bytes:
        """Everything that comes of it."""
        got = bytearray()
        done = body.deliver(got.extend)
        self.sender_of(body).finish()
        self.successResultOf(done)
        return bytes(got)

    def assert_segment(self, body: BlobBody, segment: int, peer: str | None) -> None:
        """``body`` is that of ``peer`` (None: upstream), and brings all of ``segment``."""
        self.assertEqual(body.peer, peer)
        self.assertEqual(self.read(body), DATA[segment * SEGMENT : (segment + 1) * SEGMENT])

    def sender_of(self, body: BlobBody) -> FakeBody:
        while not isinstance(body, FakeBody):
            body = getattr(body, "_body")  # noqa: B009 - it is private
        return body

    @property
    def all_bodies(self) -> list[FakeBody]:
        return [*self.cluster.bodies, *self.origin.bodies]

    def give(self, *peers: str) -> None:
        """These have the blob."""
        for each in peers:
            self.cluster[each].has[DIGEST] = DATA

    def advance(self, seconds: float, step: float = 0.05) -> None:
        self.clock.pump([step] * round(seconds / step))

    def assert_clean(self) -> None:
        """Nothing is left behind, bodies that nobody took excepted."""
        for body in self.bodies:
            body.stop()
        self.assertEqual((self.places.taken, self.places.waiting), (0, 0))
        self.assertEqual(len(self.tools.duties), 0)
        self.assertEqual(len(self.tools.asking), 0)
        self.assertEqual(self.cluster.open, [])
        self.assertEqual([body for body in self.all_bodies if not (body.closed or body.over)], [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def tearDown(self) -> None:
        self.assert_clean()
