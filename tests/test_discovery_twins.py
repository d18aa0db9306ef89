"""Another node that has our id is found out."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodecache.discovery.twins import Twins
from nodecache.events import Event, PeerIdTwice
from nodecache.membership import Address, Hello

HERE = Address("10.0.0.1", 5001)
THERE = Address("10.0.0.2", 5001)


class TwinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[Event] = []
        self.answers: dict[Address, Hello] = {}
        self.twins = Twins(self.greet, "node1", "ours", self.events.append)

    async def greet(self, address: Address) -> Hello:
        return self.answers[address]

    def answer(self, address: Address, id_: str, instance: str) -> None:
        self.answers[address] = Hello(id_, "1", "1.0", "", (address,), instance=instance)
        hello = self.successResultOf(Deferred.fromCoroutine(self.twins.hello(address)))
        self.assertEqual(hello, self.answers[address])

    def test_our_own_answer_is_no_other_node(self) -> None:
        self.answer(HERE, "node1", "ours")
        self.answer(THERE, "node2", "theirs")
        self.assertEqual(self.events, [])

    def test_a_release_without_that_word_is_not_blamed(self) -> None:
        self.answer(THERE, "node1", "")
        self.assertEqual(self.events, [])

    def test_another_node_of_our_id_is_told_once_for_each_address(self) -> None:
        for _ in range(3):
            self.answer(THERE, "node1", "theirs")
        self.answer(HERE, "node1", "theirs")
        told = [event for event in self.events if isinstance(event, PeerIdTwice)]
        self.assertEqual([event.address for event in told], [str(THERE), str(HERE)])

    def test_and_again_when_it_comes_back(self) -> None:
        for id_ in ("node1", "node2", "node1"):
            self.answer(THERE, id_, "theirs")
        self.assertEqual(len(self.events), 2)
