"""What a fill lends to peers: of what is here, of what comes, and what it fetches for them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nodecache.byteranges import Span
from nodecache.failures import NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.limits import KIB, LANES, MIB
from nodecache.reference import Digest
from nodecache.results import Loan
from tests.fakes_source import refused_range
from tests.flight_case import ALPINE, BUSYBOX, SEGMENT, Client, M, small_limits
from tests.lending_case import Borrower, LendingCase, segment
from tests.store_case import digest_of, some_bytes

DOWN = UpstreamFailure(UpstreamKind.UNREACHABLE, "no route")


class WhatIsHere(LendingCase):
    def test_a_stored_blob_is_lent_pinned_until_it_is_given_back(self) -> None:
        data = some_bytes(2 * SEGMENT)
        digest = self.put_blob(data)
        loan = self.lent(digest, segment(1))
        assert loan is not None
        self.assertEqual((loan.total, loan.ranged, loan.fetched), (len(data), True, False))
        self.assertTrue(loan.alive())
        self.assertTrue(self.store._accounts.ledger.pinned(b"b" + bytes.fromhex(digest.hex)))
        borrower = Borrower(loan, segment(1)).go()
        self.assertEqual(bytes(borrower.got), data[SEGMENT:])
        loan.close()

    def test_of_a_stored_blob_nothing_behind_its_end_is_lent(self) -> None:
        digest = self.put_blob(some_bytes(SEGMENT))
        self.assertIsNone(self.lent(digest, segment(1)))
        self.assertIsNone(self.holding(digest, segment(1)))
        self.assertEqual(self.holding(digest, segment(0)), SEGMENT)

    def test_of_an_unknown_blob_nothing_is_lent_and_nothing_begun(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.assertIsNone(self.lent(digest, segment(0), fetch=False))
        self.assertIsNone(self.holding(digest, segment(0)))
        self.assertEqual(self.origin.asked, [])
        self.nothing_is_left()

    def test_bytes_that_flow_are_lent_and_others_are_not(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.flying(digest)
        borrower = self.borrow(digest, segment(0), fetch=False)
        self.assertIsNone(self.lent(digest, segment(1), fetch=False))
        self.assertEqual(self.holding(digest, segment(0)), len(data))
        self.assertIsNone(self.holding(digest, segment(1)))
        self.body.send(M)
        self.settle()
        self.assertEqual(bytes(borrower.got), data[:M])
        self.finish()
        self.assertEqual(bytes(borrower.got), data[:SEGMENT])
        self.assertEqual(borrower.outcome, "complete")

    def test_before_headers_are_in_nothing_flows(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.origin.patient = True
        self.started(digest)
        self.assertIsNone(self.lent(digest, segment(0), fetch=False))
        self.assertIsNone(self.holding(digest, segment(0)))

    def test_what_comes_from_the_asker_is_not_lent_to_it(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.sender = "p9"
        self.flying(digest)
        for fetch in (False, True):
            self.assertIsNone(self.lent(digest, segment(0), fetch=fetch, asker="p9"))
        self.assertIsNone(self.holding(digest, segment(0), "p9"))
        # Before the first byte it might come from anybody, and through a ring.
        self.assertIsNone(self.lent(digest, segment(0), asker="p8", fetch=False))
        self.body.send(M)
        self.turn()
        self.borrow(digest, segment(0), asker="p8", fetch=False)
        self.finish()
        # What is here is here, whoever sent it.
        self.borrow(digest, segment(0), asker="p9", fetch=False)
        self.settle()
        self.nothing_is_left()

    def test_a_worker_that_only_asks_may_be_asking_the_asker(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.flying(digest)
        self.origin.patient = True
        self.body.finish()
        self.turn()
        self.assertEqual(self.origin.spans[1:], [(SEGMENT, 2 * SEGMENT)])
        self.assertIsNone(self.lent(digest, segment(1), fetch=False))
        self.origin.answer(self.origin.asked[-1])
        self.turn()
        self.body.send(M)
        self.turn()
        self.body.cut()
        self.turn()
        # Some of it is here already, so that one is lent.
        borrower = self.borrow(digest, segment(1), fetch=False)
        self.origin.answer(self.origin.asked[-1])
        self.turn()
        self.finish()
        self.assertEqual(bytes(borrower.got), data[SEGMENT:])

    def waiting(self, digest: Digest, span: Span, asker: str = "p8") -> Deferred[Loan | None]:
        """A peer that asks for what is here only, and may be kept waiting for a second."""
        lending = self.lending(digest, span, fetch=False, asker=asker, wait=1.0)
        self.turn()
        self.assertNoResult(lending)
        return lending

    def test_who_may_wait_gets_it_with_the_first_bytes(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.sender = "p9"
        self.flying(digest)
        self.assertTrue(self.fills.is_getting(digest, segment(0), "p8"))
        lending = self.waiting(digest, segment(0))
        self.body.send(M)
        self.settle()
        loan = self.successResultOf(lending)
        assert loan is not None
        borrower = Borrower(loan, segment(0)).go()
        self.finish()
        self.assertEqual(bytes(borrower.got), data[:SEGMENT])
        self.nothing_is_left()

    def test_who_waits_for_the_first_bytes_waits_so_long_and_no_longer(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.sender = "p9"
        self.flying(digest)
        lending = self.waiting(digest, segment(0))
        self.turn(1.0)
        self.assertIsNone(self.successResultOf(lending))
        self.finish()

    def test_nobody_waits_for_what_is_not_looked_for_or_comes_from_him(self) -> None:
        digest, _ = self.blob(4 * SEGMENT)
        other, _ = self.blob(SEGMENT)
        self.origin.sender = "p9"
        self.flying(digest)
        for span, asker in ((segment(2), "p8"), (segment(0), "p9")):
            self.assertFalse(self.fills.is_getting(digest, span, asker))
            self.assertIsNone(self.lent(digest, span, fetch=False, asker=asker, wait=1.0))
        self.assertFalse(self.fills.is_getting(other, segment(0), "p8"))
        self.assertIsNone(self.lent(other, segment(0), fetch=False, wait=1.0))
        self.finish()

    def test_who_waits_hears_at_once_when_the_fill_has_failed(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.origin.patient = True
        self.started(digest)
        lending = self.waiting(digest, segment(0))
        gone = UpstreamFailure(UpstreamKind.NOT_FOUND, "gone", status=404)
        self.origin.refusals = {ALPINE: gone}
        self.origin.answer(self.origin.asked[-1])
        self.turn()
        self.assertIsNone(self.successResultOf(lending))

    def test_nothing_of_a_loan_is_held_back(self) -> None:
        digest, data = self.blob(SEGMENT + 5)
        client = self.client(self.flying(digest))
        self.body.finish()
        self.turn()
        borrower = self.borrow(digest, segment(1))
        self.body.send()
        self.settle()
        self.assertEqual(bytes(borrower.got), data[SEGMENT:])
        client.leave()
        self.finish()

    def test_a_flight_that_forgets_its_beginning_lends_nothing(self) -> None:
        digest, _ = self.blob(4 * SEGMENT)
        client = self.client(self.flying(digest))
        self.disk.fail("pwritev", 28, times=1)
        self.body.send(M)
        self.settle()
        self.assertTrue(self.fills.active()[0].narrowed)
        for fetch in (False, True):
            lending = self.lending(digest, segment(0), fetch=fetch)
            self.failureResultOf(lending, NoRoom)
        self.assertIsNone(self.holding(digest, segment(0)))
        self.finish()
        self.assertEqual(client.outcome, "complete")


class Fetched(LendingCase):
    def test_only_the_segment_that_was_asked_for_is_fetched(self) -> None:
        digest, data = self.blob(5 * SEGMENT + 3)
        borrower = self.borrow(digest, segment(3))
        self.assertEqual(self.origin.spans, [(3 * SEGMENT, 4 * SEGMENT)])
        self.assertEqual(borrower.loan.total, len(data))
        self.assertTrue(borrower.loan.fetched)
        self.assertTrue(borrower.loan.ranged)
        self.finish()
        self.assertEqual(bytes(borrower.got), data[3 * SEGMENT : 4 * SEGMENT])
        self.assertEqual(self.origin.sent, SEGMENT)
        self.assertEqual(self.store.usage().reserved, SEGMENT)
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.assertIsNone(self.stored(digest))
        self.nothing_is_left()
        self.assert_accounts_are_right()

    def test_it_lingers_and_what_it_has_is_lent_meanwhile(self) -> None:
        digest, _ = self.blob(3 * SEGMENT)
        self.borrow(digest, segment(1))
        self.finish()
        self.turn(self.timeouts.peer_linger - 1)
        second = self.borrow(digest, segment(1))
        self.assertEqual(second.outcome, "complete")
        self.assertFalse(second.loan.fetched)
        self.turn(self.timeouts.peer_linger - 1)
        self.assertEqual(len(self.fills.active()), 1)
        self.turn(1)
        self.nothing_is_left()

    def test_what_was_kept_is_lent_from_disk_and_nobody_is_asked(self) -> None:
        digest, data = self.blob(3 * SEGMENT + 1)
        self.partial(digest, data, (1, 3))
        self.assertEqual(self.holding(digest, segment(3)), len(data))
        self.assertIsNone(self.holding(digest, segment(2)))
        self.assertIsNone(self.lent(digest, segment(2), fetch=False))
        self.assertEqual(self.fills.active(), [])
        borrower = self.borrow(digest, segment(3), fetch=False)
        self.assertEqual(bytes(borrower.got), data[3 * SEGMENT :])
        self.assertEqual(self.origin.asked, [])
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.nothing_is_left()
        self.assertEqual(self.holding(digest, segment(1)), len(data))

    def test_what_was_kept_is_asked_for_more(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.partial(digest, data, (0,))
        borrower = self.borrow(digest, segment(2))
        self.assertEqual(self.origin.spans, [(2 * SEGMENT, 3 * SEGMENT)])
        self.finish()
        self.assertEqual(bytes(borrower.got), data[2 * SEGMENT :])
        self.linger()

    def test_what_is_damaged_on_disk_is_not_lent(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.partial(digest, data, (1,))
        path = self.store._ground.layout.partial(digest) + "/data"
        with open(path, "r+b") as file:
            file.seek(SEGMENT)
            file.write(b"damaged")
        self.assertIsNone(self.lent(digest, segment(1), fetch=False))
        self.linger()
        self.nothing_is_left()

    def test_more_segments_are_fetched_at_once_each_by_a_worker_of_its_own(self) -> None:
        digest, data = self.blob(12 * SEGMENT)
        borrowers = [self.borrow(digest, segment(index)) for index in range(12)]
        self.assertEqual(len(self.origin.open_bodies), LANES)
        self.finish()
        self.assertEqual(b"".join(bytes(each.got) for each in borrowers), data)
        self.linger()
        self.assertEqual(self.outcome(), "kept")

    def test_many_peers_cost_one_fetch(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.patient = True
        lending = [self.lending(digest, segment(1)) for _ in range(5)]
        self.turn()
        self.origin.answer(self.origin.asked[0])
        self.turn()
        loans = [self.successResultOf(each) for each in lending]
        borrowers = [Borrower(loan, segment(1)).go() for loan in loans if loan is not None]
        self.finish()
        self.assertEqual([bytes(each.got) for each in borrowers], [data[SEGMENT:]] * 5)
        self.assertEqual([each.loan.fetched for each in borrowers], [True, *[False] * 4])
        self.assertEqual(self.origin.sent, SEGMENT)
        self.linger()

    def test_a_worker_that_is_refused_at_once_is_not_hired_again_and_again(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        first = self.borrow(digest, segment(0))
        self.origin.ranges = False
        refused = self.borrow(digest, segment(1))
        self.assertEqual(len(self.origin.asked), 2)
        self.assertTrue(refused.loan.alive(), "the other will take it up")
        self.origin.ranges = True
        self.finish()
        self.assertEqual(bytes(first.got + refused.got), data[: 2 * SEGMENT])
        self.linger()
        self.nothing_is_left()

    def test_a_demand_that_went_before_its_turn_is_not_fetched(self) -> None:
        digest, _ = self.blob(12 * SEGMENT)
        borrowers = [self.borrow(digest, segment(index)) for index in range(LANES + 1)]
        borrowers[-1].leave()
        self.finish()
        self.assertEqual(self.origin.sent, LANES * SEGMENT)
        self.linger()

    def test_a_segment_that_is_being_fetched_is_fetched_to_its_end(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        borrower = self.borrow(digest, segment(1))
        self.body.send(M)
        borrower.leave()
        self.finish()
        self.assertEqual(self.origin.sent, SEGMENT)
        self.linger()
        self.assertEqual(self.holding(digest, segment(1)), len(data))

    def test_whoever_does_not_know_the_size_is_lent_what_there_is(self) -> None:
        digest, data = self.blob(100)
        borrower = self.borrow(digest, segment(0))
        self.finish()
        self.assertEqual(bytes(borrower.got), data)

    def test_the_empty_blob_is_lent(self) -> None:
        digest, _ = self.blob(0)
        loan = self.lent(digest, segment(0))
        assert loan is not None
        self.assertEqual(loan.total, 0)
        loan.close()
        self.linger()
        self.nothing_is_left()

    def test_bytes_that_the_blob_does_not_have_are_not_lent(self) -> None:
        digest, data = self.blob(SEGMENT + 1)
        for index in (2, 7):
            lending = self.lending(digest, segment(index), size=9 * SEGMENT)
            self.turn()
            failure = self.failureResultOf(lending, UpstreamFailure).value
            self.assertIs(failure.kind, UpstreamKind.WRONG)
        self.nothing_is_left()
        # That says nothing of the blob.
        client = self.client(self.flying(digest))
        self.assertIsNone(self.lent(digest, segment(2)))
        self.finish()
        self.assertEqual(bytes(client.got), data)

    def test_behind_the_very_end_there_is_nothing_either(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.twists = [lambda span: refused_range(len(data), span)]
        lending = self.lending(digest, segment(2))
        self.turn()
        self.failureResultOf(lending, UpstreamFailure)
        self.nothing_is_left()

    def test_a_failure_before_headers_is_the_askers(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.refusals[ALPINE] = DOWN
        lending = self.lending(digest, segment(0))
        self.turn()
        self.assertIs(self.failureResultOf(lending, UpstreamFailure).value.kind, DOWN.kind)
        self.assertEqual(self.outcome(), "failed")
        self.nothing_is_left()

    def test_a_failure_later_breaks_the_readers_and_keeps_what_came(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        self.origin.refusals[ALPINE] = DOWN
        late = self.borrow(digest, segment(1))
        for _ in range(5):
            self.turn(10)
        self.assertEqual(late.outcome, "broken")
        self.assertFalse(late.loan.alive())
        self.nothing_is_left()
        self.assertEqual(self.holding(digest, segment(0)), len(data))

    def test_the_names_of_all_who_ask_are_tried(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.patient = True
        self.origin.refusals[ALPINE] = UpstreamFailure(UpstreamKind.DENIED, "no", status=401)
        lending = [self.lending(digest, segment(0), name=name) for name in (ALPINE, BUSYBOX)]
        self.turn()
        while self.origin.asked[-1].body is None and not self.origin.asked[-1].waiting.called:
            self.origin.answer(self.origin.asked[-1])
            self.turn()
        for each in lending:
            loan = self.successResultOf(each)
            assert loan is not None
            loan.close()
        self.linger()

    def test_who_gives_up_waiting_takes_its_demand_along(self) -> None:
        digest, _ = self.blob(2 * SEGMENT)
        self.origin.patient = True
        lending = self.lending(digest, segment(0))
        self.turn()
        lending.addErrback(lambda _: None)
        lending.cancel()
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.nothing_is_left()

    def test_a_source_without_ranges_is_taken_whole_and_in_order(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.origin.ranges = False
        borrower = self.borrow(digest, segment(1))
        self.assertFalse(borrower.loan.ranged)
        self.assertTrue(borrower.loan.alive())
        self.borrow(digest, segment(2))
        self.assertEqual(len(self.origin.asked), 1)
        self.finish()
        self.assertEqual(bytes(borrower.got), data[SEGMENT : 2 * SEGMENT])
        self.assertEqual(len(self.origin.asked), 1)
        self.linger()
        self.assertEqual(self.outcome(), "kept")

    def test_of_a_stream_of_unknown_length_is_lent_when_it_has_ended(self) -> None:
        digest, data = self.blob(SEGMENT + 9)
        self.origin.ranges = self.origin.lengths = False
        lending = self.lending(digest, segment(0), size=4)
        self.turn()
        self.assertNoResult(lending)
        self.finish()
        loan = self.successResultOf(lending)
        assert loan is not None
        self.assertEqual(loan.total, len(data))
        borrower = Borrower(loan, segment(0)).go()
        self.assertEqual(bytes(borrower.got), data[:SEGMENT])
        self.linger()
        self.nothing_is_left()

    def test_whether_it_is_alive(self) -> None:
        digest, _ = self.blob(3 * SEGMENT)
        self.origin.sender = "p1"
        borrower = self.borrow(digest, segment(0))
        self.assertFalse(borrower.loan.alive(), "it waits for a peer")
        self.body.live()
        self.assertTrue(borrower.loan.alive(), "bytes come, and wait for their sum")
        self.turn(self.timeouts.peer_silence)
        self.assertFalse(borrower.loan.alive(), "none has come for a while")
        self.origin.sender = None
        self.body.lose_peer()
        self.turn()
        self.assertTrue(borrower.loan.alive(), "upstream sends it")
        self.finish()
        self.assertFalse(borrower.loan.alive(), "it was given back")
        self.linger()

    def test_one_that_waits_for_a_worker_is_alive_as_long_as_they_are(self) -> None:
        digest, _ = self.blob(12 * SEGMENT)
        borrowers = [self.borrow(digest, segment(index)) for index in range(LANES + 1)]
        self.assertTrue(borrowers[-1].loan.alive())
        for body in self.origin.open_bodies:
            body.sender = "p1"
        self.assertFalse(borrowers[-1].loan.alive())
        self.finish()
        self.linger()

    def test_giving_back_twice_is_giving_back_once(self) -> None:
        digest, _ = self.blob(SEGMENT)
        loan = self.lent(digest, segment(0))
        assert loan is not None
        loan.close()
        loan.close()
        self.finish()
        self.linger()
        self.nothing_is_left()

    def test_stopping_breaks_the_loans_and_keeps_the_segments(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        waiting = self.borrow(digest, segment(1))
        self.run_now(self.fills.stop())
        self.turn()
        self.assertEqual(waiting.outcome, "broken")
        lending = self.lending(digest, segment(0))
        self.failureResultOf(lending, StoreFailure)
        self.fills = self.new_fills()
        self.assertEqual(self.holding(digest, segment(0)), len(data))


class TheWholeOfIt(LendingCase):
    def test_all_segments_are_verified_and_kept_but_not_stored(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        for index in range(2):
            self.borrow(digest, segment(index))
        self.finish()
        self.assertEqual([each[0] for each in self.court.right], [digest])
        self.assertIsNone(self.stored(digest))
        self.borrow(digest, segment(0))
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.assertEqual(self.holding(digest, segment(1)), len(data))
        client = Client(self.read_at_once(digest)).go()
        self.turn()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_a_client_that_comes_while_it_lingers_whole_has_it_stored(self) -> None:
        digest, data = self.blob(SEGMENT + 1)
        for index in range(2):
            self.borrow(digest, segment(index))
        self.finish()
        client = Client(self.read_at_once(digest)).go()
        self.turn()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.outcome(), "stored")
        self.nothing_is_left()

    def test_wrong_bytes_are_dropped_and_remembered(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.origin.blobs[digest] = data[:-1] + b"!"
        borrowers = [self.borrow(digest, segment(index)) for index in range(2)]
        self.finish()
        self.assertEqual(self.outcome(), "mismatch")
        del borrowers
        self.assertIsNone(self.holding(digest, segment(0)))
        lending = self.lending(digest, segment(0))
        self.failureResultOf(lending, UpstreamFailure)
        self.nothing_is_left()


class Joined(LendingCase):
    wide = 3

    def test_a_client_makes_it_a_fill_of_the_whole(self) -> None:
        digest, data = self.blob(6 * SEGMENT)
        borrower = self.borrow(digest, segment(4))
        client = self.client(self.flying(digest, BUSYBOX))
        self.assertEqual(len(self.origin.open_bodies), 4)
        self.assertEqual(self.store.usage().reserved, len(data))
        self.assertEqual(self.fills._tools.share.taken, 0)
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(bytes(borrower.got), data[4 * SEGMENT : 5 * SEGMENT])
        self.assertEqual(self.stored(digest), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_a_client_that_comes_before_the_headers(self) -> None:
        digest, data = self.blob(6 * SEGMENT)
        self.origin.patient = True
        lending = self.lending(digest, segment(4))
        self.turn()
        flight = self.started(digest)
        client = self.client(flight)
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertEqual(len(self.origin.open_bodies), 3)
        loan = self.successResultOf(lending)
        assert loan is not None
        loan.close()
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()

    def test_a_client_that_comes_before_a_peers_error_is_found_out(self) -> None:
        digest, data = self.blob(SEGMENT)
        self.origin.patient = True
        lending = self.lending(digest, segment(4))
        self.turn()
        client = self.client(self.started(digest))
        self.origin.patient = False
        self.origin.answer(self.origin.asked[0])
        self.turn()
        self.assertIsNone(self.successResultOf(lending))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()

    def test_a_client_that_comes_while_nobody_fetches(self) -> None:
        digest, data = self.blob(6 * SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        client = self.client(self.flying(digest))
        self.assertEqual(len(self.origin.open_bodies), 3)
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_a_client_that_comes_when_all_places_are_taken(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        tools = self.fills._tools
        while tools.connections.enter_now():
            pass
        client = self.client(self.flying(digest))
        self.assertEqual(len(self.origin.open_bodies), 1)
        self.finish()
        self.assertEqual(bytes(client.got), data)
        for _ in range(self.limits.connections_per_node):
            tools.connections.leave()
        self.nothing_is_left()

    def test_a_client_of_a_stream(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.origin.ranges = False
        self.borrow(digest, segment(1))
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        self.nothing_is_left()

    def test_a_client_of_a_stream_of_unknown_length(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.origin.ranges = self.origin.lengths = False
        lending = self.lending(digest, segment(1))
        self.turn()
        client = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.stored(digest), data)
        loan = self.successResultOf(lending)
        assert loan is not None
        loan.close()
        self.nothing_is_left()

    def test_peers_go_on_when_the_client_leaves(self) -> None:
        digest, data = self.blob(6 * SEGMENT)
        borrower = self.borrow(digest, segment(4))
        self.client(self.flying(digest)).leave()
        self.finish()
        self.assertEqual(borrower.outcome, "complete")
        self.assertEqual(self.stored(digest), data)

    def test_a_client_whose_flight_is_ending_begins_another(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        self.hold_jobs()
        lending = self.lending(digest, segment(0))
        self.run_jobs()
        loan = self.successResultOf(lending)
        assert loan is not None
        self.finish_with_jobs()
        loan.close()
        self.turn(self.timeouts.peer_linger)
        starting = self.starting(digest)
        self.assertNoResult(starting)
        self.run_jobs()
        client = self.client(self.successResultOf(starting))
        self.finish_with_jobs()
        self.assertEqual(bytes(client.got), data)
        self.assertEqual([each.outcome for each in self.told("fill")], ["kept", "stored"])
        self.assertEqual(self.origin.sent, len(data))

    def test_peers_are_served_beyond_the_width_and_the_line(self) -> None:
        digest, data = self.blob(20 * SEGMENT)
        client = self.client(self.flying(digest))
        self.assertEqual(len(self.origin.open_bodies), 3)
        borrowers = [self.borrow(digest, segment(index)) for index in range(5, 19)]
        self.assertEqual(len(self.origin.open_bodies), 3 + LANES)
        self.finish()
        for borrower in borrowers:
            self.assertEqual(borrower.outcome, "complete")
        self.assertEqual(bytes(client.got), data)
        self.assertEqual(self.origin.sent, len(data))
        self.nothing_is_left()

    def test_what_lane_workers_left_undone_is_taken_up(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        borrowers = [self.borrow(digest, segment(index)) for index in (1, 2)]
        client = self.client(self.flying(digest))
        first = self.origin.open_bodies[-1]
        first.finish()
        self.turn()
        for borrower in borrowers:
            borrower.leave()
        lane = self.origin.open_bodies[0]
        self.origin.twists = [lambda _: DOWN]
        lane.cut()
        self.turn()
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()


class RoomForPeers(LendingCase):
    cap = 4 * MIB
    limits = small_limits(peer_fills=2)

    @property
    def share(self) -> int:
        return self.store.partials_share

    def test_all_flights_for_peers_have_a_share_together(self) -> None:
        """A tenth of 4 MiB is less than one segment of 1 MiB, so the sizes here are smaller."""
        self.assertEqual(self.share, 4 * MIB // 10)
        digest, _ = self.blob(2 * SEGMENT)
        lending = self.lending(digest, segment(0))
        self.turn()
        self.failureResultOf(lending, NoRoom)
        self.assertEqual(self.origin.asked, [])
        self.nothing_is_left()

    def test_a_small_blob_has_room_beside_a_big_one(self) -> None:
        self.store.set_limits(12 * MIB, 0)
        digest, data = self.blob(6 * SEGMENT)
        borrower = self.borrow(digest, segment(1))
        lending = self.lending(digest, segment(2))
        self.turn()
        self.failureResultOf(lending, NoRoom)
        self.finish()
        self.assertEqual(bytes(borrower.got), data[SEGMENT : 2 * SEGMENT])
        self.linger()
        self.nothing_is_left()

    def test_a_client_has_room_that_peers_have_not(self) -> None:
        self.store.set_limits(12 * MIB, 0)
        digest, data = self.blob(6 * SEGMENT)
        self.borrow(digest, segment(1))
        client = self.client(self.flying(digest))
        self.borrow(digest, segment(2))
        self.finish()
        self.assertEqual(bytes(client.got), data)
        self.nothing_is_left()

    def test_a_client_for_whom_there_is_no_room_leaves_the_peers_alone(self) -> None:
        self.store.set_limits(12 * MIB, 0)
        digest, data = self.blob(13 * SEGMENT)
        borrower = self.borrow(digest, segment(1))
        starting = self.starting(digest)
        self.turn()
        self.failureResultOf(starting, NoRoom)
        self.finish()
        self.assertEqual(bytes(borrower.got), data[SEGMENT : 2 * SEGMENT])
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.nothing_is_left()

    def test_there_are_only_so_many_and_nobody_waits_in_line(self) -> None:
        self.store.set_limits(100 * MIB, 0)
        digests = [self.blob(10 * KIB, seed)[0] for seed in range(3)]
        borrowers = [self.borrow(digest, segment(0)) for digest in digests[:2]]
        lending = self.lending(digests[2], segment(0))
        self.failureResultOf(lending, NoRoom)
        # A client of this node has the line of clients.
        self.flying(digests[0])
        self.borrow(digests[2], segment(0))
        self.finish()
        self.assertEqual([each.outcome for each in borrowers], ["complete"] * 2)
        self.linger()
        self.nothing_is_left()

    def test_a_full_disk_ends_it_and_keeps_what_it_has(self) -> None:
        self.store.set_limits(100 * MIB, 0)
        digest, data = self.blob(3 * SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        borrower = self.borrow(digest, segment(1))
        self.disk.fail("pwritev", 28, times=1)
        self.body.send(M)
        self.settle()
        self.assertEqual(borrower.outcome, "broken")
        self.assertEqual(self.outcome(), "discarded")
        self.nothing_is_left()
        self.assertEqual(self.holding(digest, segment(0)), len(data))

    def test_a_partial_that_is_evicted_is_not_lent(self) -> None:
        self.store.set_limits(100 * MIB, 0)
        digest, data = self.blob(3 * SEGMENT)
        self.partial(digest, data, (0,))
        self.run_now(self.store.drop_partial(digest))
        self.assertIsNone(self.lent(digest, segment(0), fetch=False))
        self.assertIsNone(self.holding(digest, segment(0)))


class Distrust(LendingCase):
    def sums(self, digest: Digest) -> dict[int, tuple[int, ...]]:
        return next(sums for each, sums in self.court.right if each == digest)

    def truth(self, size: int) -> tuple[Digest, bytes, dict[int, tuple[int, ...]]]:
        """A blob and its sums, as another node has found them."""
        digest, data = self.blob(size)
        self.flying(digest)
        self.finish()
        self.run_now(self.store.drop_blob(digest))
        self.origin.asked.clear()
        return digest, data, self.sums(digest)

    def test_a_partial_that_differs_is_dropped(self) -> None:
        digest, data = self.blob(3 * SEGMENT)
        self.partial(digest, data, (0,))
        self.run_now(self.fills.distrust(digest, {0: (1,) * 8}))
        self.assertIsNone(self.holding(digest, segment(0)))
        self.assert_accounts_are_right()

    def test_a_partial_that_is_the_same_stays(self) -> None:
        digest, data, sums = self.truth(3 * SEGMENT)
        self.partial(digest, data, (0,))
        self.run_now(self.fills.distrust(digest, {0: sums[0], 2: (1,) * 8}))
        self.assertEqual(self.holding(digest, segment(0)), len(data))

    def test_a_flight_that_differs_breaks_its_readers_and_begins_again(self) -> None:
        digest, data, sums = self.truth(3 * SEGMENT)
        self.origin.blobs[digest] = b"!" + data[1:]
        self.origin.sender = "p1"
        client = self.client(self.flying(digest))
        self.body.finish()
        self.settle()
        self.origin.blobs[digest] = data
        self.run_now(self.fills.distrust(digest, sums))
        self.turn()
        self.assertEqual(client.outcome, "broken")
        retry = self.client(self.flying(digest))
        self.finish()
        self.assertEqual(bytes(retry.got), data)
        self.assertEqual([each.outcome for each in self.told("fill")][-2:], ["mismatch", "stored"])
        self.nothing_is_left()

    def test_what_is_learnt_while_the_partial_is_read_again_counts(self) -> None:
        digest, data, sums = self.truth(3 * SEGMENT)
        self.origin.blobs[digest] = b"!" + data[1:]
        self.partial(digest, self.origin.blobs[digest], (0,))
        self.origin.blobs[digest] = data
        self.origin.patient = True
        starting = self.starting(digest)
        self.run_now(self.fills.distrust(digest, sums))
        self.turn()
        self.successResultOf(starting)
        self.origin.answer(self.origin.asked[-1])
        self.turn()
        self.assertEqual(self.outcome(), "mismatch")
        self.nothing_is_left()

    def test_a_flight_that_was_verified_stays(self) -> None:
        digest, _ = self.blob(SEGMENT)
        self.borrow(digest, segment(0))
        self.finish()
        self.run_now(self.fills.distrust(digest, {0: (1,) * 8}))
        self.borrow(digest, segment(0), fetch=False)
        self.linger()

    def test_a_stored_blob_stays_and_what_is_unknown_is_nothing(self) -> None:
        data = some_bytes(SEGMENT)
        digest = self.put_blob(data)
        self.run_now(self.fills.distrust(digest, {0: (1,) * 8}))
        self.run_now(self.fills.distrust(digest_of(b""), {0: (1,) * 8}))
        self.assertEqual(self.stored(digest), data)

    def test_a_span_of_a_part_of_a_segment(self) -> None:
        digest, data = self.blob(2 * SEGMENT)
        span = Span(SEGMENT + 5, SEGMENT + 2 * M)
        borrower = self.borrow(digest, span)
        self.finish()
        self.assertEqual(bytes(borrower.got), data[span.start : span.stop])
        self.linger()
