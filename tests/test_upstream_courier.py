"""Deadlines, blame and probes as time goes by, over a wire that a test holds in its hand."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from nodecache.config import UpstreamSettings
from nodecache.deadline import Deadline
from nodecache.events import Event, UpstreamHealth
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.health import Health
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Tag
from nodecache.upstream.courier import Attempt, Courier, Letter
from nodecache.upstream.guard import Guard
from nodecache.upstream.origin import Origin
from nodecache.upstream.probe import FORGOTTEN, Prober
from nodecache.upstream.registry import Upstream
from nodecache.upstream.tokens import Tokens
from nodecache.upstream.turns import Turns
from nodecache.upstream.waits import TimedOut

HUB = "https://hub.example:443"
CDN = "https://cdn.example:443"
TAG = Tag("1")


class FakeReply:
    def __init__(self, url: str, status: int, headers: dict[str, str]) -> None:
        self.url, self.status, self.host = url, status, url.split("/")[2]
        self._headers = Headers({name: [value] for name, value in headers.items()})
        self.taken = True  # there is no body to discard
        self.length = 0

    def headers(self, name: str) -> list[str]:
        return [str(value) for value in self._headers.getRawHeaders(name) or []]

    def header(self, name: str) -> str | None:
        return ", ".join(self.headers(name)) or None


@attrs.define
class Sent:
    method: str
    url: str
    seconds: float
    answer: Deferred[Any]

    def reply(self, status: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer.callback(FakeReply(self.url, status, named))

    def time_out(self, *, late: bool = False) -> None:
        self.answer.errback(TimedOut(late=late))


class FakeWire:
    def __init__(self) -> None:
        self.sent: list[Sent] = []

    async def send(
        self, method: str, url: str, headers: Any, guard: Any, *, trusted: bool, seconds: float
    ) -> Any:
        one = Sent(method, url, seconds, Deferred())
        self.sent.append(one)
        return await one.answer


class CourierCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.timeouts = Timeouts()
        self.wire = FakeWire()
        wire: Any = self.wire
        self.health = Health(self.timeouts)
        self.courier = Courier(
            "docker.io",
            wire,
            self.health,
            self.clock,
            lambda: 1_700_000_000.0,
            self.events.append,
            self.timeouts,
        )
        self.guard = Guard(HUB)

    def send(self, url: str, attempt: Attempt, leg: str = "manifest") -> Deferred[Any]:
        return Deferred.fromCoroutine(self.courier.send(Letter(leg, "GET", url), attempt))

    def attempt(self, seconds: float = 10.0, **fields: Any) -> Attempt:
        now = self.clock.seconds()
        return Attempt(HUB, self.guard, now, Deadline(now + seconds), **fields)

    def turns_of_health(self) -> list[tuple[str, bool]]:
        return [(e.origin, e.up) for e in self.events if isinstance(e, UpstreamHealth)]

    def upstream(self, *urls: str) -> Upstream:
        tokens = Tokens(self.clock, self.events.append, 10.0)
        settings = UpstreamSettings("docker.io", urls[-1])
        origins = [Origin(url, self.courier, tokens, Limits()) for url in urls]
        return Upstream(settings.namespace, Turns(self.courier, origins), Limits())


class DeadlineTests(CourierCase):
    def test_one_deadline_spans_all_legs(self) -> None:
        upstream = self.upstream("https://hub.example")
        asking = Deferred.fromCoroutine(upstream.head_manifest("a/b", TAG))
        realm = 'Bearer realm="https://auth.hub.example/token"'
        self.assertEqual(self.wire.sent[0].seconds, 9.0)
        self.clock.advance(4)
        self.wire.sent[0].reply(401, WWW_Authenticate=realm)
        self.assertEqual(self.wire.sent[1].url.split("?")[0], "https://auth.hub.example/token")
        self.clock.advance(4)
        self.assertNoResult(asking)
        self.clock.advance(1)
        failure = self.failureResultOf(asking, UpstreamFailure)
        self.assertEqual(failure.value.kind, UpstreamKind.TIMEOUT)

    def test_a_redirects_leg_has_what_is_left(self) -> None:
        upstream = self.upstream("https://hub.example")
        asking = Deferred.fromCoroutine(upstream.head_manifest("a/b", TAG))
        self.clock.advance(8)
        self.wire.sent[0].reply(307, Location="https://cdn.example/x")
        self.assertEqual(
            (self.wire.sent[1].url, self.wire.sent[1].seconds), ("https://cdn.example/x", 1.0)
        )
        self.clock.advance(1)
        self.wire.sent[1].time_out()
        self.failureResultOf(asking, UpstreamFailure)
        self.assertEqual(self.turns_of_health(), [(HUB, False)])

    def test_mirrors_share_the_time_that_is_left(self) -> None:
        upstream = self.upstream(
            "https://one.example", "https://two.example", "https://hub.example"
        )
        asking = Deferred.fromCoroutine(upstream.head_manifest("a/b", TAG))
        seconds = []
        for spent in (3.0, 1.0, 2.0):
            seconds.append(round(self.wire.sent[-1].seconds, 3))
            self.clock.advance(spent)
            self.wire.sent[-1].time_out()
        self.failureResultOf(asking, UpstreamFailure)
        self.assertEqual(seconds, [3.0, 3.0, 5.0])


class BlameTests(CourierCase):
    def time_out(self, attempt: Attempt, after: float, *, late: bool = False) -> None:
        sending = self.send("https://cdn.example/x", attempt, "cdn")
        self.clock.advance(after)
        self.wire.sent[-1].time_out(late=late)
        self.failureResultOf(sending, UpstreamFailure)

    def test_the_host_that_was_silent_for_half_of_the_time_is_blamed(self) -> None:
        attempt = self.attempt()
        self.clock.advance(5)
        self.time_out(attempt, 5)
        self.assertEqual(self.turns_of_health(), [(CDN, False)])

    def test_else_the_origin_that_took_the_rest_is_blamed(self) -> None:
        attempt = self.attempt()
        self.clock.advance(5.1)
        self.health.succeeded(HUB, self.clock.seconds())  # it did answer, late
        self.time_out(attempt, 4.9)
        self.assertEqual(self.turns_of_health(), [(HUB, False)])

    def test_nobody_is_blamed_where_there_was_little_time(self) -> None:
        self.time_out(self.attempt(1.0, fair=False), 1)
        self.assertEqual(self.turns_of_health(), [])

    def test_nobody_is_blamed_by_a_process_that_was_frozen(self) -> None:
        self.time_out(self.attempt(), 500, late=True)
        self.assertEqual(self.turns_of_health(), [])

    def test_the_failure_of_a_request_that_began_before_the_last_success_says_nothing(self) -> None:
        slow = self.send(f"{HUB}/slow", self.attempt())
        self.clock.advance(9)
        quick = self.send(f"{HUB}/quick", self.attempt())
        self.wire.sent[1].reply(200)
        self.successResultOf(quick)
        self.clock.advance(1)
        self.wire.sent[0].time_out()
        self.failureResultOf(slow, UpstreamFailure)
        self.assertEqual(self.turns_of_health(), [])

    def test_what_fails_while_all_ends_marks_nothing(self) -> None:
        sending = self.send(HUB, self.attempt())
        self.courier.closed = "this node is stopping"
        failure = UpstreamFailure(UpstreamKind.UNREACHABLE, "it closed the connection")
        self.wire.sent[0].answer.errback(failure)
        self.failureResultOf(sending, UpstreamFailure)
        self.assertEqual(self.turns_of_health(), [])


class ProberTests(CourierCase):
    def setUp(self) -> None:
        super().setUp()
        self.courier.probes[HUB] = Letter("probe", "GET", f"{HUB}/v2/"), self.guard
        self.prober = Prober(self.courier, [HUB])

    def fail(self, url: str = f"{HUB}/x") -> None:  # type: ignore[override]
        sending = self.send(url, self.attempt())
        self.wire.sent.pop().answer.errback(UpstreamFailure(UpstreamKind.UNREACHABLE, "gone"))
        self.failureResultOf(sending, UpstreamFailure)

    def test_the_pause_between_probes_doubles_up_to_the_longest(self) -> None:
        self.fail()
        gone_at = []
        for _ in range(400):
            self.clock.advance(0.5)
            if self.wire.sent:
                gone_at.append(self.clock.seconds())
                self.wire.sent.pop().answer.errback(UpstreamFailure(UpstreamKind.UNREACHABLE, "-"))
        pauses = [later - sooner for sooner, later in zip([0.0, *gone_at], gone_at, strict=False)]
        self.assertEqual(pauses[:8], [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0])

    def test_one_probe_is_out_at_a_time(self) -> None:
        self.fail()
        for _ in range(100):
            self.clock.advance(0.1)
        self.assertEqual([(one.method, one.url) for one in self.wire.sent], [("GET", f"{HUB}/v2/")])

    def test_any_answer_below_500_ends_it(self) -> None:
        self.fail()
        self.clock.advance(1)
        self.wire.sent.pop().reply(401)
        self.assertEqual(self.turns_of_health(), [(HUB, False), (HUB, True)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_5xx_does_not(self) -> None:
        self.fail()
        self.clock.advance(1)
        self.wire.sent.pop().reply(502)
        self.clock.advance(1.9)
        self.assertEqual(self.wire.sent, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.wire.sent), 1)

    def test_a_probe_without_a_verdict_is_followed_by_a_longer_pause(self) -> None:
        self.fail()
        self.clock.advance(1)
        self.wire.sent.pop().time_out(late=True)
        self.clock.advance(1.9)
        self.assertEqual(self.wire.sent, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.wire.sent), 1)

    def test_an_origin_that_only_an_answer_named_is_forgotten_in_the_end(self) -> None:
        self.fail("https://cdn.example/data?verify=secret")
        probes = 0
        for _ in range(int(FORGOTTEN) + 60):
            self.clock.advance(1)
            while self.wire.sent:
                probes += 1
                sent = self.wire.sent.pop()
                self.assertEqual(sent.url, "https://cdn.example/")
                sent.answer.errback(UpstreamFailure(UpstreamKind.UNREACHABLE, "-"))
        self.assertLess(probes, 30)
        self.assertEqual(self.turns_of_health(), [(CDN, False), (CDN, True)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stopped_prober_leaves_nothing_behind(self) -> None:
        self.fail()
        self.clock.advance(1)
        self.fail("https://cdn.example/")
        self.prober.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.wire.sent[0].answer.called)
