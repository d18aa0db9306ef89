"""Whatever peers and upstream do, a segment ends with its bytes or upstream's failure, in time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TypeAlias

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import Clock

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.membership import Address
from nodecache.peerwire.answers import (
    Absent,
    Denied,
    Elsewhere,
    Fetching,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.seams import BlobBody, BlobSource
from nodecache.sharing.blob import SharedBlob
from tests.fakes_cluster import ME, FakePeer, FakePeerBody, Question
from tests.fakes_source import FakeBody
from tests.sharing_blob_case import ALPINE, DATA, DIGEST, SEGMENT, SharingCase

IDS = tuple("abcdefgh")
MORE = b"more"
THERE = Address("10.0.0.7", 5001)

Script: TypeAlias = "Refusal | PeerKind | str"

referrals = st.lists(st.sampled_from([*IDS, "stranger", ME]), max_size=4).map(
    lambda ids: tuple((each, THERE) for each in ids)
)
refusals: st.SearchStrategy[Refusal] = st.one_of(
    st.builds(Absent),
    st.builds(Denied, st.just("no")),
    st.builds(Fetching, st.sampled_from([0.0, 0.1, 1.0])),
    st.builds(Elsewhere, st.sampled_from([0.0, 0.2, 2.0]), referrals, st.booleans()),
    st.builds(
        UpstreamAbsent,
        st.sampled_from([UpstreamKind.NOT_FOUND, UpstreamKind.DENIED]),
        st.just("gone"),
    ),
    st.builds(UpstreamBroken, st.sampled_from(UpstreamKind), st.just("it fails")),
)
#: What a peer does, one after the other, and the last for ever.
scripts: st.SearchStrategy[list[Script]] = st.lists(
    st.one_of(
        refusals,
        st.sampled_from(PeerKind),
        st.sampled_from(["bytes", "silence", "more", "nothing"]),
    ),
    min_size=1,
    max_size=4,
)
#: What a body does.
fates = st.sampled_from(["whole", "cut", "corrupt", "stopped", "cancelled"])


@attrs.frozen
class World:
    scripts: list[list[Script]]
    ranks: list[str]
    upstream: list[UpstreamKind | str]
    down: bool
    offline: bool
    duty: bool
    suspect: int
    segments: list[int]
    fates: list[str]
    seconds: float
    cancel_at: float | None
    size: int | None


worlds = st.builds(
    World,
    scripts=st.lists(scripts, min_size=0, max_size=len(IDS)),
    ranks=st.permutations([*IDS, ME]),
    upstream=st.lists(
        st.one_of(st.sampled_from(UpstreamKind), st.sampled_from(["bytes", "whole", "silence"])),
        min_size=1,
        max_size=4,
    ),
    down=st.booleans(),
    offline=st.booleans(),
    duty=st.booleans(),
    suspect=st.integers(0, 2),
    segments=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    fates=st.lists(fates, min_size=1, max_size=8),
    seconds=st.sampled_from([1.0, 5.0, 10.0]),
    cancel_at=st.none() | st.floats(0, 5),
    size=st.sampled_from([None, len(DATA), 17]),
)


class ScriptedPeer(FakePeer):
    script: list[Script]
    clock: Clock

    def usual(self, what: str, question: Question) -> object:  # type: ignore[override]
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, PeerKind):
            return PeerFailure(self.id, step, "it fails")
        if isinstance(step, str):
            self.has[DIGEST] = DATA + MORE if step == "more" else DATA
            self.eager = 0 if step == "nothing" else 10
            answer = super().usual(what, question)
            if step == "nothing" and isinstance(answer, FakePeerBody):
                self.clock.callLater(1.5, self.give_up, answer)
            return answer
        return step

    def give_up(self, body: FakePeerBody) -> None:
        if body.delivering and not body.sent:
            body.fail(PeerKind.TIMEOUT)


class ScriptedSource(BlobSource):
    """Upstream: keeps to its deadline, as the real one does."""

    def __init__(self, case: SharingCase, script: list[UpstreamKind | str]) -> None:
        self.case = case
        self.script = script

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        clock = self.case.clock
        if isinstance(step, UpstreamKind):
            raise UpstreamFailure(step, "upstream's own words")
        if step == "silence":
            silence: Deferred[None] = Deferred()
            try:
                await silence.addTimeout(deadline.remaining(clock.seconds()), clock)
            except TookTooLong:
                raise UpstreamFailure(UpstreamKind.TIMEOUT, "silence") from None
        self.case.origin.ranges = step == "bytes"
        return await self.case.origin.source(ALPINE, DIGEST).fetch(span, deadline)


class AnyWorld(SharingCase):
    ids = ()
    #: The size that answers named before the last question.
    told: int | None = None

    def build(self, world: World) -> SharedBlob:
        self.setUp()
        for peer_id, script in zip(IDS, world.scripts, strict=False):
            peer = self.cluster.peers[peer_id] = ScriptedPeer(peer_id)
            peer.script, peer.clock = list(script), self.clock
        self.cluster.peers["stranger"] = FakePeer("stranger", has={DIGEST: DATA})
        for peer_id in set(IDS) - set(self.cluster.peers):
            self.cluster.peers[peer_id] = FakePeer(peer_id)
            self.cluster.off.add(peer_id)
        self.cluster.off.add("stranger")
        self.cluster.ranks["*"] = world.ranks
        self.cluster.silence = self.timeouts.peer_silence
        self.offline, self.size = world.offline, world.size
        self.down = UpstreamFailure(UpstreamKind.DOWN, "down") if world.down else None
        for _ in range(world.suspect):
            self.suspicions.mismatched(DIGEST, {0: frozenset("a")}, {0: (1,)})
        source = ScriptedSource(self, list(world.upstream))
        return SharedBlob(self.tools, ALPINE, DIGEST, source, lambda: self.down)

    def hush(self) -> None:
        """Hold back the answers of peers whose script says so."""
        for peer in self.cluster.peers.values():
            script = getattr(peer, "script", [])
            peer.patient = bool(script) and script[0] == "silence"

    def finish(self, body: BlobBody, segment: int, fate: str) -> None:
        inner = self.sender_of(body)
        if fate == "stopped":
            body.stop()
            return
        got = bytearray()
        done = body.deliver(got.extend)
        {
            "whole": inner.finish,
            "cut": lambda: self.break_off(inner, PeerKind.CUT),
            "corrupt": lambda: self.break_off(inner, PeerKind.CORRUPT),
            "cancelled": done.cancel,
        }[fate]()
        if fate == "whole":
            self.successResultOf(done)
            whole = body.peer is None and not body.ranged
            blob = self.blob_of(body)
            wanted = blob if whole else blob[segment * SEGMENT : (segment + 1) * SEGMENT]
            self.assertEqual(bytes(got), wanted)
        else:
            self.failureResultOf(done)

    def blob_of(self, body: BlobBody) -> bytes:
        """Of what the body is. How long the blob is, a peer may say as long as nobody else did."""
        if body.peer is None or self.size is not None or self.told == len(DATA):
            return DATA
        return (DATA + MORE)[: body.total]

    def break_off(self, inner: FakeBody, kind: PeerKind) -> None:
        inner.send(10)
        if isinstance(inner, FakePeerBody):
            inner.fail(kind)
        else:
            inner.cut()

    def run_one(self, blob: SharedBlob, world: World, segment: int) -> BlobBody | None:
        started, asked = self.clock.seconds(), len(self.cluster.asked)
        fetching = self.begin(segment, seconds=world.seconds, blob=blob)
        ended: list[object] = []
        fetching.addBoth(ended.append)
        cancel_at = started + (1e9 if world.cancel_at is None else world.cancel_at)
        # Behind the first answer nobody waits for headers any more.
        known = blob._findings.total is not None
        longest = self.timeouts.stall_total if known else world.seconds
        while not ended and self.clock.seconds() < started + longest + 0.1:
            self.hush()
            if self.clock.seconds() >= cancel_at:
                fetching.cancel()
            self.clock.advance(0.05)
        self.assertEqual(len(ended), 1, "it did not end in time")
        questions = len(self.cluster.asked) - asked
        # Two budgets of a search, and of all peers a question and those for the bytes.
        self.assertLessEqual(questions, 2 * 64 + len(IDS) * 65)
        result = ended[0]
        if hasattr(result, "value"):
            self.assertNotIsInstance(result.value, PeerFailure)
            if world.cancel_at is None:
                self.assertIsInstance(result.value, UpstreamFailure)
            return None
        return self.bodies[-1]

    def check(self, world: World) -> None:
        blob = self.build(world)
        for index, segment in enumerate(world.segments):
            duties = self.tools.duties
            self.told = blob._findings.total
            with duties.on(DIGEST, segment) if world.duty else nullcontext():
                body = self.run_one(blob, world, segment)
            if body is not None:
                self.finish(body, segment, world.fates[index % len(world.fates)])
        if world.duty:
            modes = {mode for _, _, mode in self.cluster.log}
            self.assertLessEqual(modes, {"only-if-have"}, "nobody forwards")
        self.clock.advance(2)  # no body is silent for longer
        self.assert_clean()

    def test_any_world(self) -> None:
        @settings(max_examples=150, deadline=None)
        @given(worlds)
        def check(world: World) -> None:
            self.check(world)

        check()
