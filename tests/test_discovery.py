"""Finding and greeting the peers: timers on a false clock, and once for real."""

from __future__ import annotations

import itertools
import random
from typing import Any

import attrs
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nodecache.discovery import Discovery, Found, NotResolved
from nodecache.discovery.lookup import Lookup
from nodecache.discovery.resolvconf import ResolvConf
from nodecache.events import DiscoveryFailed, DiscoveryWorks, Event, PeersSeen
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import WIRE_VERSION, Timeouts
from nodecache.membership import Address, Hello, Membership, Peer, PeerTarget
from tests.fakes_client import until
from tests.fakes_dns import SERVFAIL, FakeDns

TIMEOUTS = Timeouts(peer_resolve=10.0, peer_lookup=5.0, peer_first=1.0, peer_greet=30.0)
HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def at(host: str) -> Address:
    return Address(host, 5001)


class FakeResolver:
    """Each lookup is answered with ``says``; with None it is silent."""

    def __init__(self) -> None:
        self.says: Found | Exception | None = Found(HOSTS)
        self.times = 0
        self.cancelled = 0

    async def lookup(self, name: str) -> Found:
        assert name == "peers"
        self.times += 1
        if self.says is None:
            silent: Deferred[Found] = Deferred(self._cancel)
            return await silent
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class FakePeers:
    """Who answers a greeting, by host: an id, a kind of failure, or nothing at all."""

    def __init__(self) -> None:
        self.ids: dict[str, str | PeerKind | Exception | None] = {}
        self.greeted: list[str] = []
        self.waiting: list[Deferred[Hello]] = []

    def greet(self, address: Address) -> Deferred[Hello]:
        self.greeted.append(address.host)
        found = self.ids.get(address.host, f"node-{address.host}")
        if isinstance(found, PeerKind):
            return fail(PeerFailure(str(address), found, "as told"))
        if isinstance(found, Exception):
            return fail(found)
        if found is None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return succeed(hello(found))


def hello(id_: str) -> Hello:
    return Hello(id_, WIRE_VERSION, "1.0", "", ())


@attrs.define
class Steady(random.Random):
    """No jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class DiscoveryCase(SynchronousTestCase):
    target = PeerTarget("peers", 5001)

    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = FakeResolver()
        self.peers = FakePeers()
        self.events: list[Event] = []
        self.members = Membership(Peer("me", ()), TIMEOUTS, "1.0")
        self.discovery = Discovery(
            self.clock,
            self.target,
            self.members,
            self.peers.greet,
            self.events.append,
            TIMEOUTS,
            Steady(),
            lambda *_: self.resolver,
        )

    def pass_time(self, seconds: float) -> None:
        """In steps, as a process does that does not stand still."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    def ids(self) -> list[str]:
        return [peer.id for peer in self.members.view(self.clock.seconds()).peers]

    def seen(self) -> list[tuple[int, int]]:
        return [(e.known, e.live) for e in self.events if isinstance(e, PeersSeen)]

    def failures(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, DiscoveryFailed)]

    def recoveries(self) -> int:
        return sum(isinstance(e, DiscoveryWorks) for e in self.events)


class TestResolving(DiscoveryCase):
    def test_it_resolves_at_once_and_again_at_the_interval(self) -> None:
        self.discovery.start()
        self.assertEqual(self.resolver.times, 1)
        self.assertEqual(self.ids(), [f"node-{host}" for host in HOSTS])
        self.pass_time(9.5)
        self.assertEqual(self.resolver.times, 1)
        self.pass_time(1)
        self.assertEqual(self.resolver.times, 2)

    def test_the_interval_has_jitter(self) -> None:
        self.discovery._rng = random.Random(7)
        self.discovery.start()
        times: list[float] = []
        for _ in range(1000):
            before = self.resolver.times
            self.clock.advance(0.1)
            times += [self.clock.seconds()] * (self.resolver.times - before)
        gaps = {round(b - a, 1) for a, b in itertools.pairwise(times)}
        self.assertGreater(len(gaps), 4)
        self.assertTrue(all(7.9 <= gap <= 12.2 for gap in gaps), gaps)

    def test_the_port_is_that_of_the_target(self) -> None:
        self.discovery._target = PeerTarget("peers", 6001)
        self.discovery.start()
        peer = self.members.view(0.0).get("node-10.0.0.1")
        self.assertEqual(peer and peer.addresses, (Address("10.0.0.1", 6001),))

    def test_bad_answers_leave_the_view_and_are_told_once_for_each_reason(self) -> None:
        self.discovery.start()
        for says in (
            NotResolved("peers: NXDOMAIN"),
            NotResolved("peers: NXDOMAIN"),
            NotResolved("peers: SERVFAIL"),
            NotResolved("peers: SERVFAIL"),
        ):
            self.resolver.says = says
            self.pass_time(10.1)
        self.assertEqual(self.failures(), ["peers: NXDOMAIN", "peers: SERVFAIL"])
        self.assertEqual(len(self.ids()), 3)
        self.resolver.says = Found(HOSTS)
        self.pass_time(10.1)
        self.resolver.says = NotResolved("peers: SERVFAIL")
        self.pass_time(10.1)
        self.assertEqual(len(self.failures()), 3)
        self.assertEqual(self.recoveries(), 1)

    def test_a_silent_resolver_is_given_up_and_asked_again(self) -> None:
        self.resolver.says = None
        self.discovery.start()
        self.pass_time(6.1)
        self.assertEqual(self.failures(), ["no answer in time"])
        self.assertEqual(self.resolver.cancelled, 1)
        self.resolver.says = Found(HOSTS)
        self.pass_time(1.1)
        self.assertEqual(len(self.ids()), 3)

    def test_while_nothing_was_found_yet_it_looks_sooner(self) -> None:
        self.resolver.says = NotResolved("peers: NXDOMAIN")
        self.discovery.start()
        self.pass_time(1.1)
        self.assertEqual(self.resolver.times, 2)
        self.pass_time(100)
        self.assertLess(self.resolver.times, 16)
        self.assertEqual(len(self.failures()), 1)

    def test_a_resolver_that_fails_otherwise_does_not_end_it(self) -> None:
        self.resolver.says = RuntimeError("a bug")
        self.discovery.start()
        self.pass_time(1.1)
        self.assertEqual(self.failures(), ["unforeseen: RuntimeError"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.resolver.says = Found(HOSTS)
        self.pass_time(2.1)
        self.assertEqual(len(self.ids()), 3)

    def test_a_partial_answer_adds_only(self) -> None:
        self.discovery.start()
        for _ in range(5):
            self.resolver.says = Found(("10.0.0.9",), partial=True)
            self.pass_time(10.1)
        self.assertEqual(len(self.ids()), 4)

    def test_nodes_that_dns_names_no_more_go(self) -> None:
        for host in HOSTS[1:]:
            self.peers.ids[host] = PeerKind.REFUSED
        self.discovery.start()
        self.resolver.says = Found(HOSTS[:1])
        self.pass_time(31)
        self.assertEqual(self.members.census(self.clock.seconds()).known, 1)


class TestGreeting(DiscoveryCase):
    def test_oneself_is_found_among_the_peers(self) -> None:
        self.peers.ids["10.0.0.2"] = "me"
        self.discovery.start()
        self.assertEqual(self.ids(), ["node-10.0.0.1", "node-10.0.0.3"])
        self.assertEqual(self.members.me.addresses, (at("10.0.0.2"),))
        self.pass_time(60)
        self.assertEqual(self.peers.greeted.count("10.0.0.2"), 1)

    def test_no_more_than_32_are_greeted_at_a_time(self) -> None:
        crowd = [f"10.0.1.{n}" for n in range(100)]
        self.peers.ids = dict.fromkeys(crowd)
        self.resolver.says = Found(tuple(crowd))
        self.discovery.start()
        self.assertEqual(len(self.peers.greeted), 32)
        for number in range(100):
            self.peers.waiting[number].callback(hello(f"n{number}"))
            self.assertLessEqual(len(self.peers.waiting) - number - 1, 32)
        self.assertEqual(len(self.ids()), 100)

    def test_a_poke_greets_who_is_due_now(self) -> None:
        self.discovery.start()
        self.peers.greeted.clear()
        self.members.failed("node-10.0.0.1", PeerKind.CUT, 0.0)
        self.discovery.poke()
        self.assertEqual(sorted(self.peers.greeted), list(HOSTS[1:]))  # are they dead as well?

    def test_a_peer_that_failed_is_back_after_its_pause_by_itself(self) -> None:
        self.discovery.start()
        self.members.failed("node-10.0.0.1", PeerKind.CUT, 0.0)
        self.discovery.poke()
        self.assertEqual(len(self.ids()), 2)
        self.pass_time(1.6)
        self.assertEqual(len(self.ids()), 3)

    def test_peers_that_do_not_answer_are_greeted_after_growing_pauses(self) -> None:
        self.resolver.says = Found(HOSTS[:1])
        self.peers.ids[HOSTS[0]] = PeerKind.REFUSED
        self.discovery.start()
        self.pass_time(120)
        self.assertLess(len(self.peers.greeted), 12)
        self.assertEqual(self.ids(), [])

    def test_all_peers_die_and_come_back(self) -> None:
        self.discovery.start()
        for host in HOSTS:
            self.peers.ids[host] = PeerKind.TIMEOUT
            self.members.failed(f"node-{host}", PeerKind.TIMEOUT, 0.0)
        self.assertTrue(self.members.all_off(0.0))
        self.pass_time(20)
        self.assertEqual(self.ids(), [])
        self.peers.ids.clear()
        self.pass_time(35)
        self.assertEqual(len(self.ids()), 3)

    def test_a_greeting_that_fails_otherwise_counts_as_failed_and_is_told(self) -> None:
        self.peers.ids[HOSTS[0]] = RuntimeError("a bug")
        self.discovery.start()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.ids()), 2)

    def test_a_change_of_the_view_is_told_and_nothing_else(self) -> None:
        self.discovery.start()
        self.events.clear()
        self.pass_time(5)
        self.assertEqual(self.seen(), [])
        self.members.left("node-10.0.0.1", 5.0)
        self.pass_time(0.6)
        self.assertEqual(self.seen(), [(3, 2)])


class TestStandingStill(DiscoveryCase):
    def test_a_late_timer_means_that_nobody_is_to_blame(self) -> None:
        self.discovery.start()
        self.pass_time(2)
        for host in HOSTS:
            self.members.failed(f"node-{host}", PeerKind.TIMEOUT, 2.0)
        self.assertEqual(self.ids(), [])
        self.clock.advance(5)
        self.assertEqual(len(self.ids()), 3)

    def test_a_greeting_that_ended_late_is_held_against_nobody(self) -> None:
        self.peers.ids = dict.fromkeys(HOSTS)
        self.discovery.start()
        waiting = list(self.peers.waiting)
        self.clock.advance(30)
        for greeting in waiting:
            greeting.errback(PeerFailure("x", PeerKind.TIMEOUT, "silence"))
        self.assertEqual(len(self.ids()), 3)
        self.assertGreater(len(self.peers.waiting), 3)  # they are greeted again


class TestBeginning(DiscoveryCase):
    def ready(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.discovery.ready())

    def test_it_is_ready_when_the_first_greetings_are_in(self) -> None:
        self.peers.ids["10.0.0.1"] = None
        waiting = self.ready()
        self.discovery.start()
        self.assertNoResult(waiting)
        self.assertNoResult(self.discovery.first)
        self.peers.waiting[0].callback(hello("one"))
        self.successResultOf(waiting)
        self.successResultOf(self.discovery.first)
        self.successResultOf(self.ready())

    def test_it_is_ready_after_a_while_whatever_is_missing(self) -> None:
        self.peers.ids = dict.fromkeys(HOSTS)
        waiting, cancelled = self.ready(), self.ready()
        self.discovery.start()
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.pass_time(0.9)
        self.assertNoResult(waiting)
        self.pass_time(0.2)
        self.successResultOf(waiting)

    def test_it_is_ready_when_there_is_nobody(self) -> None:
        self.resolver.says = NotResolved("peers: NXDOMAIN")
        self.discovery.start()
        self.successResultOf(self.discovery.first)

    def test_stop_ends_all_and_lets_nobody_wait(self) -> None:
        self.resolver.says = None
        waiting = self.ready()
        self.discovery.start()
        self.discovery.stop()
        self.successResultOf(waiting)
        self.assertEqual(self.resolver.cancelled, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.discovery.poke()
        self.discovery.stop()

    def test_stop_cancels_greetings(self) -> None:
        self.peers.ids = dict.fromkeys(HOSTS)
        self.discovery.start()
        self.discovery.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pass_time(60)
        self.assertEqual(len(self.peers.greeted), 3)


class TestStaticList(DiscoveryCase):
    target = PeerTarget(None, 5001, tuple(map(at, HOSTS)))

    def test_a_static_list_needs_no_dns_and_never_ages(self) -> None:
        self.discovery.start()
        self.successResultOf(self.discovery.first)
        self.assertEqual(len(self.ids()), 3)
        for host in HOSTS:
            self.peers.ids[host] = PeerKind.REFUSED
        self.pass_time(300)
        self.assertEqual(self.resolver.times, 0)
        self.assertEqual(self.members.census(self.clock.seconds()).known, 3)
        self.peers.ids.clear()
        self.pass_time(61)
        self.assertEqual(len(self.ids()), 3)


class TestForReal(TestCase):
    timeout = 20

    async def test_a_name_is_resolved_and_its_nodes_are_greeted(self) -> None:
        dns = FakeDns(installed)
        port = dns.start()
        self.addCleanup(dns.stop)
        dns.peers("peers.here", ["10.0.0.1", "10.0.0.2"], ["fd00::1"])
        peers = FakePeers()
        peers.ids = {"10.0.0.1": "one", "fd00::1": "one", "10.0.0.2": "me"}
        events: list[Event] = []
        timeouts = attrs.evolve(TIMEOUTS, peer_resolve=0.05)
        members = Membership(Peer("me", ()), timeouts, "1.0")
        settings = Settings(ResolvConf(("127.0.0.1",), ("here",), 5))

        def resolver(reactor: Any, timeouts: Timeouts, rng: random.Random) -> Lookup:
            return Lookup(reactor, settings, timeouts.peer_lookup, rng, port)

        target, rng = PeerTarget("peers", 5001), random.Random(1)
        discovery = Discovery(
            installed, target, members, peers.greet, events.append, timeouts, rng, resolver
        )
        discovery.start()
        self.addCleanup(discovery.stop)
        await discovery.ready()
        view = members.view(installed.seconds())
        self.assertEqual(view.peers, (Peer("one", (at("10.0.0.1"), at("fd00::1"))),))
        dns.zone = dict.fromkeys(dns.zone, SERVFAIL)
        await until(installed, lambda: any(isinstance(e, DiscoveryFailed) for e in events))
        self.assertEqual(len(members.view(installed.seconds()).peers), 1)


@attrs.define
class Settings:
    now: ResolvConf

    def settings(self) -> ResolvConf:
        return self.now
