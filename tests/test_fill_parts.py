"""The parts of a fill that decide by themselves: patience, ramp, answers, runs, checksums."""

from __future__ import annotations

import shutil
import tempfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.failures import NoRoom, PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Answer, Contradiction, judge, judged, outward
from nodecache.fill.assembly import Assembly, Job, Piece
from nodecache.fill.demand import Demand
from nodecache.fill.patience import PEER_FAILURES, Patience, Patiences
from nodecache.fill.ramp import Ramp
from nodecache.fill.runs import Queue
from nodecache.fill.senders import Senders
from nodecache.fill.share import Share
from nodecache.limits import KIB, MIB, SEGMENT
from nodecache.segments import block_spans, segment_count, segment_span
from nodecache.store import Disk, Partial
from tests.fakes_source import FakeBody
from tests.store_case import digest_of, some_bytes


def patience() -> Patience:
    return Patience(resumes=3, total=30, pause=1, now=100)


def test_the_first_resume_is_made_at_once_and_the_pauses_then_double() -> None:
    waiting = patience()
    assert [waiting.failed(100) for _ in range(4)] == [0, 1, 2, None]


def test_a_new_byte_restores_patience_in_full() -> None:
    waiting = patience()
    for _ in range(3):
        waiting.failed(100)
    waiting.progressed(120)
    assert waiting.failed(149) == 0
    assert waiting.failed(150) is None


def test_time_in_which_we_paused_does_not_count() -> None:
    waiting = patience()
    waiting.rested(1000)
    assert waiting.failed(1029) == 0


def test_a_source_is_given_the_time_it_asks_for_if_there_is_so_much() -> None:
    assert patience().failed(100, retry_after=12) == 12
    assert patience().failed(100, retry_after=30) is None


def test_a_question_is_due_before_patience_ends() -> None:
    assert patience().deadline(105, 10).at == 115
    assert patience().deadline(125, 10).at == 130


def test_so_many_failures_of_peers_cost_nothing() -> None:
    waiting = patience()
    assert all(waiting.forgives() for _ in range(PEER_FAILURES))
    assert not waiting.forgives()
    assert waiting.failed(100) == 0
    waiting.progressed(110)
    assert waiting.forgives()


def test_each_segment_has_a_patience_of_its_own() -> None:
    all_of_them = Patiences(resumes=1, total=30, pause=1)
    one, other = (all_of_them.with_segment(segment, 100) for segment in range(2))
    assert one.failed(100) == 0
    assert one.failed(100) is None
    assert other.failed(100) == 0
    assert all_of_them.with_segment(0, 200) is one
    all_of_them.rested(1000)
    assert other.deadline(1000, 90).at == 1030
    all_of_them.forget(0)
    assert all_of_them.with_segment(0, 300) is not one


def test_a_demand_is_counted_and_keeps_its_order() -> None:
    demand = Demand(local=False)
    for segment in (5, 3, 5, 9):
        demand.add(segment)
    assert list(demand) == [5, 3, 9]
    demand.drop(5)
    assert list(demand) == [5, 3, 9]
    demand.drop(5)
    assert list(demand) == [3, 9]


def test_a_demand_is_served_where_there_is_room_or_a_client_wants_all() -> None:
    demand = Demand(local=False)
    for segment in (5, 3):
        demand.add(segment)
    assert list(demand.served()) == []
    demand.roomy.add(3)
    assert list(demand.served()) == [3]
    demand.local = True
    assert list(demand.served()) == [5, 3]


def test_a_demand_is_idle_when_nobody_wants_anything() -> None:
    demand = Demand(local=False)
    assert demand.idle
    demand.interest += 1
    assert not demand.idle
    assert not Demand(local=True).idle


def test_a_share_is_claimed_up_to_its_end() -> None:
    share = Share(lambda: 100)
    share.claim(60)
    with pytest.raises(NoRoom):
        share.claim(41)
    assert share.taken == 60
    share.claim(40)
    share.give_back(100)
    assert share.taken == 0


def test_senders_are_those_of_each_segment() -> None:
    senders = Senders()
    senders.brought("p1", Span(SEGMENT - 1, SEGMENT + 1))
    senders.brought("p2", Span(5, 6))
    senders.brought(None, Span(0, 3 * SEGMENT))
    senders.vouched(None, 0)
    senders.vouched("p3", 2 * SEGMENT)
    assert senders.by_segment() == {
        0: frozenset({"p1", "p2"}),
        1: frozenset({"p1"}),
        2: frozenset({"p3"}),
    }


class Rates:
    """Feeds a ramp with a rate, a window at a time."""

    def __init__(self) -> None:
        self.ramp = Ramp(seconds=1.0, count=100)
        self.now = 0.0
        self.connections = 1

    def window(self, rate: int) -> int:
        """How many connections should be added when the window is over."""
        wanted = self.ramp.received(0, self.now)
        for _ in range(8):
            self.now += 0.125
            wanted = self.ramp.received(rate // 8, self.now) or wanted
        return self.ramp.due(self.connections) if wanted else 0

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.ramp.added()
        for _ in range(count):
            self.connections += 1
            self.ramp.joined()


def test_the_ramp_goes_on_while_each_connection_raises_the_rate() -> None:
    rates = Rates()
    for rate in (1000, 1200, 1400, 1600):
        assert rates.window(rate) == 1
        rates.add()
    assert not rates.window(1700)
    assert rates.ramp.closed
    assert not rates.window(9000)


def test_where_each_connection_is_the_limit_their_number_is_doubled() -> None:
    rates = Rates()
    for rate, added in ((1000, 1), (1900, 2), (3500, 4), (7200, 8)):
        assert rates.window(rate) == added
        rates.add(added)
    assert rates.window(9000) == 1, "they brought a quarter more, and were twice as many"


def test_nothing_is_measured_until_all_that_were_added_bring_bytes() -> None:
    rates = Rates()
    assert rates.window(1000) == 1
    rates.add()
    assert rates.window(2000) == 2
    rates.ramp.added()
    rates.ramp.added()
    rates.ramp.joined()
    assert not rates.window(3000)
    assert not rates.ramp.closed
    rates.ramp.joined()
    rates.connections = 4
    assert rates.window(4000) == 4


def test_the_ramp_measures_nothing_until_the_new_connection_brings_bytes() -> None:
    rates = Rates()
    assert rates.window(1000)
    rates.ramp.added()
    assert not rates.window(1000)
    assert not rates.ramp.closed
    rates.ramp.joined()
    assert rates.window(2000)


def test_a_few_bytes_are_no_rate_however_long_they_took() -> None:
    rates = Rates()
    assert not rates.window(50)
    assert not rates.ramp.closed


def test_a_disturbed_window_is_measured_again() -> None:
    rates = Rates()
    assert rates.window(1000)
    rates.add()
    rates.ramp.received(0, rates.now)
    rates.ramp.received(10, rates.now + 0.9)
    rates.ramp.disturbed()
    rates.now += 0.9
    assert rates.window(2000)


def test_when_a_connection_has_left_the_ramp_begins_anew() -> None:
    rates = Rates()
    assert rates.window(5000)
    rates.add()
    rates.ramp.left()
    assert rates.window(1000)


def test_one_that_could_not_be_added_is_asked_for_again() -> None:
    rates = Rates()
    assert rates.window(1000)
    assert rates.window(1000)


ASKED = Span(100, 200)


def body(start: int, stop: int | None, total: int | None, *, ranged: bool) -> FakeBody:
    return FakeBody(b"", start=start, stop_at=stop, total=total, ranged=ranged)


def test_what_is_not_fit_is_stopped_and_a_peers_is_its_own_failure() -> None:
    for sender, kind in (("p1", PeerFailure), (None, UpstreamFailure)):
        elsewhere = body(101, 200, 300, ranged=True)
        elsewhere.sender = sender
        with pytest.raises(UpstreamFailure) as raised:
            judged(elsewhere, ASKED, 300)
        assert type(raised.value) is kind
        assert elsewhere.closed


def test_a_contradiction_names_the_peer() -> None:
    other = body(100, 200, 301, ranged=True)
    other.sender = "p1"
    with pytest.raises(Contradiction) as raised:
        judged(other, ASKED, 300)
    assert raised.value.peer == "p1"
    assert other.closed


def test_a_peers_failure_is_nobodys_answer() -> None:
    cut = UpstreamFailure(UpstreamKind.CUT, "cut")
    assert outward(cut) is cut
    of_peer = outward(PeerFailure("p1", PeerKind.TIMEOUT, "it says nothing"))
    assert not isinstance(of_peer, PeerFailure)
    assert of_peer.kind is UpstreamKind.TIMEOUT


@pytest.mark.parametrize(
    ("answer", "known", "expected"),
    [
        (body(100, 200, 500, ranged=True), None, Answer(500, 200, stream=False)),
        (body(100, 200, 500, ranged=True), 500, Answer(500, 200, stream=False)),
        (body(100, 200, None, ranged=True), 500, Answer(500, 200, stream=False)),
        (body(100, 150, 150, ranged=True), None, Answer(150, 150, stream=False)),
        (body(100, 120, 500, ranged=True), None, Answer(500, 120, stream=False)),
        (body(100, 400, 500, ranged=True), None, Answer(500, 200, stream=False)),
        (body(100, None, 500, ranged=True), None, Answer(500, 200, stream=False)),
        (body(0, 500, 500, ranged=False), None, Answer(500, 500, stream=True)),
        (body(0, 500, None, ranged=False), None, Answer(500, 500, stream=True)),
        (body(0, None, None, ranged=False), None, Answer(None, None, stream=True)),
        (body(0, None, None, ranged=False), 500, Answer(500, 500, stream=True)),
        (body(100, 100, 100, ranged=True), None, Answer(100, 100, stream=False)),
    ],
)
def test_answers_that_fit(answer: FakeBody, known: int | None, expected: Answer) -> None:
    assert judge(answer, ASKED, known) == expected


@pytest.mark.parametrize(
    ("answer", "known", "kind"),
    [
        (body(99, 199, 500, ranged=True), None, UpstreamFailure),
        (body(101, 200, 500, ranged=True), 500, UpstreamFailure),
        (body(0, 200, 500, ranged=True), 500, UpstreamFailure),
        (body(7, 500, 500, ranged=False), 500, UpstreamFailure),
        (body(100, 100, 500, ranged=True), 500, UpstreamFailure),
        (body(100, 200, 501, ranged=True), 500, Contradiction),
        (body(0, 499, 499, ranged=False), 500, Contradiction),
        (body(0, 499, None, ranged=False), 500, Contradiction),
        (body(100, 100, 50, ranged=True), None, Contradiction),
        (body(0, 0, 0, ranged=False), None, Contradiction),
        (body(100, 200, None, ranged=True), None, UpstreamFailure),
        (body(100, 100, None, ranged=True), None, UpstreamFailure),
    ],
)
def test_answers_that_are_refused(
    answer: FakeBody, known: int | None, kind: type[UpstreamFailure]
) -> None:
    with pytest.raises(kind) as caught:
        judge(answer, ASKED, known)
    assert caught.value.kind is UpstreamKind.WRONG


@pytest.mark.parametrize(
    "answer",
    [body(0, 0, 0, ranged=True), body(0, 0, 0, ranged=False), body(0, 0, None, ranged=False)],
)
def test_the_empty_blob(answer: FakeBody) -> None:
    assert judge(answer, Span(0, SEGMENT), None) == Answer(0, 0, stream=True)


class QueueModel:
    """Puts connected chunks of two runs and takes them back out, against the plain bytes."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.ends = {0: 0, 1: 1000}

    def put(self, run: int, size: int) -> None:
        self.queue.put(self.ends[run], bytes((self.ends[run] + at) % 256 for at in range(size)))
        self.ends[run] += size


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "take", "fail"]),
            st.integers(0, 1),
            st.integers(1, 40),
            st.integers(1, 30),
        ),
        max_size=40,
    )
)
def test_runs_give_back_every_byte_once_and_in_its_place(
    steps: list[tuple[str, int, int, int]],
) -> None:
    model, written = QueueModel(), {}
    for step, run, size, most in steps:
        if step == "put":
            model.put(run, size)
            continue
        before = model.queue.size
        piece = model.queue.take(run * 1000, 1, most)
        if piece is None:
            assert before == 0
            continue
        assert piece.size == sum(map(len, piece.chunks))
        assert 0 < piece.size <= most
        assert model.queue.size == before - piece.size
        if step == "fail":
            model.queue.put_back(piece)
            assert model.queue.size == before
            continue
        for at, byte in enumerate(b"".join(piece.chunks), piece.offset):
            assert at not in written
            written[at] = byte
    while (piece := model.queue.take(0, 1, 1 << 30)) is not None:
        written.update(enumerate(b"".join(piece.chunks), piece.offset))
    assert set(written) == {*range(model.ends[0]), *range(1000, model.ends[1])}
    assert all(byte == at % 256 for at, byte in written.items())


def test_a_run_is_taken_when_it_is_ripe_and_that_at_the_front_first() -> None:
    queue = Queue()
    queue.put(500, b"x" * 30)
    queue.put(0, b"y" * 20)
    assert queue.take(0, 40, 100) is None
    assert (first := queue.take(0, 20, 100)) is not None
    assert first.offset == 0
    assert (second := queue.take(20, 20, 100)) is not None
    assert second.offset == 500


def test_what_lies_behind_an_offset_can_be_dropped() -> None:
    queue = Queue()
    queue.put(0, b"x" * 10)
    queue.put(50, b"y" * 10)
    queue.drop_from(10)
    assert (len(queue), queue.size) == (1, 10)


class AssemblyCase(SynchronousTestCase):
    """On real segments: those of which the store will check the sums again."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def partial(self, data: bytes) -> Partial:
        partial = Partial(Disk(), digest_of(data), f"{self.folder}/it")
        self.addCleanup(partial.keep)
        return partial

    def write(self, assembly: Assembly, data: bytes, span: Span) -> None:
        piece = Piece(span.start, [data[span.start : span.stop]], span.size)
        assembly.run(Job(punch=None, total=len(data), piece=piece))

    def test_segments_written_side_by_side_are_recorded_with_the_right_sums(self) -> None:
        data = some_bytes(2 * SEGMENT + 700 * KIB)
        partial = self.partial(data)
        assembly = Assembly(partial)
        step = 300 * KIB + 1
        for offset in range(0, SEGMENT, step):
            for index in reversed(range(segment_count(len(data)))):
                whole = segment_span(index, len(data))
                start = min(whole.stop, whole.start + offset)
                stop = min(whole.stop, start + step)
                if start < stop:
                    self.write(assembly, data, Span(start, stop))
        partial.keep()
        again = self.partial(data)
        self.assertEqual(again.total, len(data))
        for index in range(3):
            self.assertTrue(again.check(index))
        sums = [zlib.crc32(data[b.start : b.stop]) for b in block_spans(Span(0, SEGMENT))]
        self.assertEqual(list(again.known.segments[0]), sums)

    def test_a_segment_whose_start_came_before_the_total_is_not_recorded(self) -> None:
        data = some_bytes(2 * MIB)
        assembly = Assembly(self.partial(data))
        piece = Piece(0, [data[:MIB]], MIB)
        assembly.run(Job(punch=None, total=None, piece=piece))
        self.write(assembly, data, Span(MIB, 2 * MIB))
        self.assertFalse(assembly.recorded)
