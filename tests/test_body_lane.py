"""Bodies that wait for their sockets, on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodecache.body.lane import Lane


class FakeReactor:
    """The part of a reactor that watches descriptors; a turn is the test's."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        assert reader not in self.readers
        assert os.fstat(reader.fileno())
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        assert os.fstat(reader.fileno())
        self.readers.remove(reader)

    def turn(self) -> None:
        for reader in list(self.readers):
            reader.doRead()


class Body:
    """Its socket takes bytes until ``fill``."""

    def __init__(self, case: LaneCase, name: str, then: Callable[[], object] = bool) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.name, self.case, self.then = name, case, then
        case.addCleanup(self.ours.close)
        case.addCleanup(self.theirs.close)
        case.lane.add(self)

    def fileno(self) -> int:
        return self.ours.fileno()

    def doWrite(self) -> None:
        self.case.calls.append(self.name)
        self.then()

    def connectionLost(self, reason: Failure) -> None:
        self.case.calls.append(f"{self.name} lost: {type(reason.value).__name__}")

    def fill(self) -> None:
        try:
            while True:
                self.ours.send(b"x" * 65536)
        except BlockingIOError:
            pass

    def leave(self) -> None:
        self.case.lane.remove(self)


class LaneCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.lane = Lane(self.reactor)  # type: ignore[arg-type]  # what it calls
        self.calls: list[str] = []


class Turns(LaneCase):
    def test_of_several_one_is_served_in_each_turn_and_all_in_their_turn(self) -> None:
        for name in "abc":
            Body(self, name)
        for _ in range(6):
            self.reactor.turn()
        self.assertEqual(sorted(self.calls[:3]), ["a", "b", "c"])
        self.assertEqual(self.calls[3:], self.calls[:3])

    def test_one_that_takes_nothing_holds_nobody_up(self) -> None:
        Body(self, "full").fill()
        Body(self, "a")
        Body(self, "b")
        for _ in range(4):
            self.reactor.turn()
        self.assertEqual(sorted(self.calls), ["a", "a", "b", "b"])

    def test_one_that_leaves_in_its_turn_is_not_called_again(self) -> None:
        body = Body(self, "a")
        body.then = body.leave
        self.reactor.turn()
        self.assertEqual((self.calls, self.reactor.readers), (["a"], []))

    def test_one_that_is_removed_by_another_is_not_called(self) -> None:
        bodies = [Body(self, "a"), Body(self, "b")]

        def removes(this: Body, other: Body) -> None:
            this.then = bool
            other.leave()

        bodies[0].then = partial(removes, *bodies)
        bodies[1].then = partial(removes, *reversed(bodies))
        self.reactor.turn()
        self.reactor.turn()
        self.assertGreater(len(self.calls), 1)
        self.assertEqual(len(set(self.calls)), 1)


class Ends(LaneCase):
    def test_nothing_is_open_or_watched_while_nobody_waits(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        self.assertEqual((self.lane.fileno(), self.reactor.readers), (-1, []))
        for _ in range(2):
            body = Body(self, "a")
            self.assertEqual(self.reactor.readers, [self.lane])
            body.leave()
            self.assertEqual((self.lane.fileno(), self.reactor.readers), (-1, []))
            body.ours.close()
            body.theirs.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_one_whose_client_is_gone_is_told_once_and_watched_no_more(self) -> None:
        gone = Body(self, "gone")
        gone.fill()
        gone.theirs.close()
        other = Body(self, "other")
        for _ in range(4):
            self.reactor.turn()
        self.assertEqual(self.calls.count("gone lost: ConnectionLost"), 1)
        self.assertIn("other", self.calls[-1])
        other.leave()
        self.assertEqual(self.reactor.readers, [])

    def test_all_are_told_when_the_reactor_gives_it_up(self) -> None:
        Body(self, "a")
        Body(self, "b")
        self.reactor.readers.clear()
        self.lane.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.calls, ["a lost: ConnectionDone", "b lost: ConnectionDone"])
        self.assertEqual(self.lane.fileno(), -1)
        Body(self, "c")
        self.reactor.turn()
        self.assertIn("c", self.calls)
