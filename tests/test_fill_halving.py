"""The last segments of a blob: two peers bring the halves of what one brings slowly."""

from __future__ import annotations

import zlib

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind
from nodecache.segments import Spread
from tests.fakes_source import FakeBody
from tests.flight_case import SEGMENT, M
from tests.lending_case import LendingCase, segment


class Halves(LendingCase):
    """Two segments, three connections; the first sender is ``p1``, the second ``p2``."""

    wide = 3
    spread = Spread(seed=1)

    def open(self, size: int = 2 * SEGMENT) -> None:
        self.origin.sender, self.origin.second = "p1", "p2"
        self.digest, self.data = self.blob(size)
        self.flying(self.digest)

    def at(self, start: int) -> FakeBody:
        """The body that began there."""
        return next(body for body in self.origin.open_bodies if body.start == start)

    def go_on_slowly(self, *, first: int = M, second: int = M) -> None:
        """A second passes, in which each brings so much."""
        self.at(0).send(first)
        self.at(SEGMENT).send(second)
        self.turn(self.timeouts.peer_share)

    def bring(self, within: Span) -> None:
        """All bodies there come to their end, a quarter of a block of each at a time."""

        def left() -> list[FakeBody]:
            there = [body for body in self.origin.open_bodies if body.delivering]
            return [body for body in there if within.start <= body.start < within.stop]

        while bodies := left():
            for body in bodies:
                body.send(M // 4)
                if not body.left and body.delivering:
                    body.finish()
            self.turn()
        self.settle()

    def all_is_right(self) -> None:
        self.bring(Span(0, len(self.data)))
        self.assertEqual(self.stored(self.digest), self.data)
        [(_, sums)] = self.court.right
        for index, crcs in sums.items():
            mine = self.data[index * SEGMENT : (index + 1) * SEGMENT]
            self.assertEqual(crcs, tuple(map(zlib.crc32, blocks(mine))))
        self.assertEqual(set(sums), set(range(-(-len(self.data) // SEGMENT))))
        self.nothing_is_left()

    def test_what_comes_slowly_comes_from_two(self) -> None:
        self.open()
        self.go_on_slowly(first=2 * M)
        # The second segment comes more slowly: of its seven blocks three are left to the first.
        half = Span(SEGMENT + 5 * M, 2 * SEGMENT)
        self.assertEqual(self.origin.asked_beside, [("p1", half)])
        first, second = self.at(SEGMENT), self.at(half.start)
        second.send(M)
        first.send(3 * M)
        self.assertFalse(first.closed)
        first.send(M)
        self.turn()
        self.assertTrue(first.closed, "it brings no more than its half")
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data), "every byte came once")

    def test_each_half_can_be_halved_again(self) -> None:
        self.open()
        self.go_on_slowly(first=2 * M)
        [(_, half)] = self.origin.asked_beside
        self.at(half.start).finish()
        self.turn()
        # Whoever brought it takes half of what the first has left: the blocks 3 and 4 of 1 to 4.
        quarter = Span(SEGMENT + 3 * M, half.start)
        self.assertEqual(self.origin.asked_beside, [("p1", half), ("p1", quarter)])
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data))

    def test_what_comes_fast_comes_from_one(self) -> None:
        self.open()
        self.go_on_slowly(first=5 * M, second=5 * M)
        self.assertEqual(self.origin.asked_beside, [])
        self.all_is_right()

    def test_so_does_what_is_nearly_here(self) -> None:
        self.open()
        self.at(0).send(6 * M + 1)
        self.at(SEGMENT).send(6 * M + 1)
        self.turn(60.0)
        self.assertEqual(self.origin.asked_beside, [])
        self.all_is_right()

    def test_so_does_what_upstream_sends(self) -> None:
        self.open()
        for body in self.origin.bodies:
            body.sender = None
        self.go_on_slowly()
        self.turn(60.0)
        self.assertEqual(self.origin.asked_beside, [])
        self.all_is_right()

    def test_segments_that_nobody_fetches_come_first(self) -> None:
        self.wide = 2
        self.open(3 * SEGMENT)
        for body in self.origin.open_bodies:
            body.send(M)
        self.turn(60.0)
        self.assertEqual(self.origin.asked_beside, [])
        self.all_is_right()

    def test_where_nobody_else_has_it_the_first_goes_on_and_it_is_asked_again(self) -> None:
        self.open()
        self.origin.second = None
        self.go_on_slowly()
        self.assertEqual(len(self.origin.asked_beside), 2)
        self.turn(self.timeouts.peer_share / 2)
        self.assertEqual(len(self.origin.asked_beside), 4)
        self.assertEqual(len(self.origin.open_bodies), 2)
        self.origin.second = "p2"
        self.turn(self.timeouts.peer_share / 2)
        self.assertEqual(len(self.origin.open_bodies), 3)
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data))

    def test_one_is_looked_for_at_a_time(self) -> None:
        self.wide = 6
        self.origin.looks = True
        self.open()
        self.go_on_slowly()
        self.turn(10.0)
        self.assertEqual(len(self.origin.asked_beside), 1)
        self.origin.looks = False
        self.origin.found()
        self.turn()
        self.assertGreater(len(self.origin.asked_beside), 1)
        self.all_is_right()

    def test_a_second_that_comes_too_late_is_not_taken(self) -> None:
        self.origin.looks = True
        self.open()
        self.go_on_slowly()
        [(_, half)] = self.origin.asked_beside
        self.at(half.start // SEGMENT * SEGMENT).send(SEGMENT - 2 * M)
        self.origin.found()
        self.turn()
        [late] = [body for body in self.origin.bodies if body.sender == "p2"]
        self.assertTrue(late.closed)
        self.assertEqual(late.sent, 0)
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data))

    def test_a_first_that_ended_meanwhile_needs_no_second(self) -> None:
        self.origin.looks = True
        self.open()
        self.go_on_slowly()
        self.all_but_the_looking_is_over()
        self.origin.found()
        self.turn()
        self.assertEqual(self.stored(self.digest), self.data)
        self.nothing_is_left()

    def all_but_the_looking_is_over(self) -> None:
        for body in self.origin.open_bodies:
            body.finish()
        self.settle()

    def test_a_second_that_breaks_off_is_taken_up_as_any_other(self) -> None:
        self.open()
        self.go_on_slowly()
        _, half = self.origin.asked_beside[0]
        second = self.at(half.start)
        second.send(M // 2)
        second.lose_peer()
        self.turn()
        self.assertIn((half.start + M // 2, half.stop), self.origin.spans)
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data))

    def test_a_first_that_breaks_off_is_taken_up_as_far_as_its_half(self) -> None:
        self.open()
        self.go_on_slowly()
        _, half = self.origin.asked_beside[0]
        first = self.at(half.start // SEGMENT * SEGMENT)
        first.lose_peer()
        self.turn()
        self.assertIn((first.start + M, half.start), self.origin.spans)
        self.all_is_right()
        self.assertEqual(self.origin.sent, len(self.data))

    def test_an_answer_that_can_not_be_right_is_not_taken(self) -> None:
        """Nor is the half lost that the first does not bring any more."""
        self.open()
        wrong = FakeBody(b"?", start=7, stop_at=8, total=len(self.data), ranged=True, sender="p2")
        real, asked = self.origin.ask_beside, []

        async def ask(digest: object, peer: str, span: Span) -> FakeBody | None:
            asked.append(span)
            if len(asked) > 1:
                return None
            self.origin.bodies.append(wrong)
            return wrong

        self.patch(self.origin, "ask_beside", ask)
        self.go_on_slowly()
        self.assertTrue(wrong.closed)
        self.assertIn((asked[0].start, asked[0].stop), self.origin.spans)
        self.patch(self.origin, "ask_beside", real)
        self.all_is_right()

    def test_who_waits_for_a_silent_first_is_not_told_that_bytes_come(self) -> None:
        """Looking for a second sender is no sign that there will be one."""
        self.origin.looks = True
        self.open()
        self.go_on_slowly()
        [(_, half)] = self.origin.asked_beside
        index = half.start // SEGMENT
        borrower = self.borrow(self.digest, segment(index), fetch=False)
        self.assertTrue(borrower.loan.alive())
        self.turn(self.timeouts.peer_silence)
        self.assertFalse(borrower.loan.alive())
        self.origin.found()
        self.turn()
        self.at(half.start).live()
        self.assertTrue(borrower.loan.alive(), "half of it comes")
        self.all_is_right()
        self.assertEqual(borrower.outcome, "complete")

    def test_a_client_that_leaves_while_a_second_is_looked_for(self) -> None:
        self.origin.looks = True
        self.open()
        self.go_on_slowly()
        self.run_now(self.fills.stop())
        self.origin.found()
        self.nothing_is_left()

    def test_a_kept_blob_goes_on_with_the_segments_that_came_in_halves(self) -> None:
        self.open()
        self.go_on_slowly(first=2 * M)
        _, half = self.origin.asked_beside[0]
        self.at(half.start).finish()
        self.bring(Span(SEGMENT, 2 * SEGMENT))
        self.run_now(self.fills.stop())
        sent = self.origin.sent
        self.fills = self.new_fills()
        self.flying(self.digest)
        self.finish()
        self.assertEqual(self.stored(self.digest), self.data)
        self.assertEqual(self.origin.sent - sent, SEGMENT, "the second segment was on disk")

    def test_one_that_failed_of_itself_fails_as_ever(self) -> None:
        """A peer's failure is no end; only the patience with the segment is."""
        self.open()
        self.go_on_slowly()
        gone = PeerFailure("p1", PeerKind.REFUSED, "no connection")
        self.origin.twists = [lambda _: gone] * 20
        for body in self.origin.open_bodies:
            body.lose_peer()
        self.turn()
        self.all_is_right()


def blocks(data: bytes) -> list[bytes]:
    return [data[at : at + M] for at in range(0, len(data), M)]
