"""Manifests answered at once: byte for byte, and event for event, what the long way says."""

from __future__ import annotations

import itertools
import re
from typing import Any
from unittest.mock import patch

import attrs
from twisted.internet.defer import Deferred

from nodecache.events import Event, PullFinished, RequestFinished, TagResolved, Unexpected
from nodecache.limits import Timeouts
from nodecache.reference import Digest, Repository, Tag
from nodecache.rules import NameRules
from nodecache.service.policy import policy_of
from nodecache.store.keys import Kind, key_of
from nodecache.web.ready import Given
from tests import test_web_tls
from tests.fakes_hub import Image
from tests.loopback import Client, LoopbackCase, _Clients, request, turns, until
from tests.node_case import NodeCase, reactor

BODY = b'{"schemaVersion": 2, "layers": []}\n'
LATEST = "/v2/library/alpine/manifests/latest"
#: What differs from one request to the next, or from one moment to the next.
FLEETING = ("request_id", "seconds", "first_byte_seconds", "trace_id", "span_id", "parent_id")

METHODS = ("GET", "HEAD", "POST")
QUERIES = ("", "?ns=docker.io", "?ns=registry-1.docker.io", "?ns=quay.io", "?n=1&x", "?ns=a&ns=b")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Accept": "application/vnd.oci.image.index.v1+json, */*", "User-Agent": "containerd/1.7"},
    {"User-Agent": "x" * 400, "If-None-Match": '"sha256:it"', "Cookie": "a=b"},
    {"Range": "bytes=0-3"},
    {"Range": "bytes=99999-", "If-Range": "nothing"},
    {"traceparent": "00-" + "1a" * 16 + "-" + "2b" * 8 + "-01"},
    {"Content-Length": "0"},
    {"Content-Length": "3"},
    {"Expect": "100-continue"},
    {"Connection": "close"},
)


def steady(event: Event) -> Event:
    """``event`` without what differs from one time to the next."""
    names = {field.name for field in attrs.fields(type(event))}
    return attrs.evolve(event, **{name: "" for name in FLEETING if name in names})


def timeless(raw: bytes) -> bytes:
    return re.sub(rb"(Date|Nodecache-Request-Id): [^\r]*", rb"\1: ...", raw)


class NodeReadyCase(NodeCase):
    """A node with one image in its cache, asked over sockets."""

    async def cached(self) -> Image:
        image = self.hub.add_image("library/app", "1", [b"a layer"])
        await self.start(tag_ttl=3600.0)
        assert (await self.manifest("library/app", "1")).status == 200
        for digest in (image.config, *image.layers):
            assert (await self.blob("library/app", digest)).status == 200
        await self.stored(2)
        self.long = self.node.mirror.ready.give
        return image

    def at_once(self, allowed: bool) -> None:
        """Whether the short way may be taken."""
        self.ways: list[bool] = []

        def give(*asked: Any) -> Given | None:
            given = self.long(*asked) if allowed else None
            self.ways.append(given is not None)
            return given

        self.node.mirror.ready.give = give  # type: ignore[method-assign, assignment]

    async def connect(self) -> Client:
        factory = _Clients()
        reactor.connectTCP("127.0.0.1", self.node.mirror_port, factory)
        await until(lambda: hasattr(factory, "client"))
        return await factory.client.connected_now

    async def raw(self, data: bytes, times: int = 1) -> tuple[list[bytes], list[Event]]:
        """What was answered to ``data`` each time, and what was told of it all."""
        self.events.clear()
        client, answers = await self.connect(), []
        for count in range(times):
            if client.closed:
                client = await self.connect()
            client.received.clear()
            client.send(data)
            await self.answered(client, data, count + 1)
            if b"Connection: close" in client.received:
                await client.hung_up()
            answers.append(timeless(bytes(client.received)))
        client.leave()
        await until(lambda: client.closed)
        return answers, [steady(each) for each in self.events if self.matters(each)]

    async def answered(self, client: Client, data: bytes, count: int) -> None:
        """Until ``client`` has all of its answer, and ``count`` requests were told of."""

        def whole() -> bool:
            replies = client.replies(head=data.startswith(b"HEAD"))
            return client.closed or any(each.whole and each.status != 100 for each in replies)

        await until(lambda: len(self.told(RequestFinished)) >= count)
        await until(whole)

    def matters(self, event: Event) -> bool:
        return isinstance(event, RequestFinished | TagResolved | Unexpected)


class ContractTests(NodeReadyCase):
    timeout = 120

    async def test_every_request_is_answered_and_told_of_as_on_the_long_way(self) -> None:
        """Each of them is heard three times: parsed, remembered, known."""
        image = await self.cached()
        shorts = set()
        references = (image.digest, "1", "none", "sha256:" + "0" * 64)
        for method, reference, query in itertools.product(METHODS, references, QUERIES):
            missing = reference in references[2:]
            for headers in HEADERS[:2] if missing or method == "POST" else HEADERS:
                path = f"/v2/library/app/manifests/{reference}{query}"
                body = b"abc" if headers.get("Content-Length") == "3" else b""
                data = request(path, method, headers, body=body)
                self.at_once(allowed=False)
                expected, events = await self.raw(data)
                self.at_once(allowed=True)
                answers, told = await self.raw(data, times=3)
                with self.subTest(data=data):
                    self.assertEqual(answers, expected * 3)
                    # The hub is asked once about what it does not have.
                    self.assertEqual(
                        [each for each in told if isinstance(each, RequestFinished)],
                        [each for each in events if isinstance(each, RequestFinished)] * 3,
                    )
                    if not missing:
                        self.assertEqual(told, events * 3)
                shorts |= {(method, missing, *headers)} if any(self.ways) else set()
        self.assertIn(("GET", False), shorts)
        self.assertIn(("HEAD", False, "Accept", "User-Agent"), shorts)
        self.assertEqual({each for each in shorts if each[0] == "POST" or each[1]}, set())
        self.assertEqual({each for each in shorts if "Range" in each or "Expect" in each}, set())

    async def test_pulls_are_told_of_alike(self) -> None:
        image = await self.cached()
        found = []
        for allowed in (False, True):
            await until(lambda: not self.node.mirror.pulls._pulls._going)
            self.at_once(allowed)
            self.events.clear()
            for reference in ("1", image.digest, image.digest):
                agent = {"User-Agent": "containerd/1.7"}
                data = request(f"/v2/library/app/manifests/{reference}", headers=agent)
                client = await self.connect()
                client.send(data)
                await client.whole()
                client.leave()
            await until(lambda: self.told(PullFinished))
            found += [steady(each) for each in self.told(PullFinished)]
        self.assertEqual(found[0], found[1])
        self.assertEqual(len(found), 2)

    async def test_it_counts_as_a_use_of_tag_and_manifest(self) -> None:
        image = await self.cached()
        accounts = self.node._store._accounts
        data = request("/v2/library/app/manifests/1")
        await self.raw(data)  # reads the tag's file
        self.at_once(allowed=True)
        with patch.object(accounts, "used", wraps=accounts.used) as used:
            await self.raw(data)
        self.assertEqual(self.ways, [True])
        app, manifest = Repository("docker.io", "library/app"), Digest.parse(image.digest)
        keys = [self.node._store._tags.key(app, Tag("1")), key_of(Kind.MANIFEST, manifest)]
        self.assertEqual([each.args for each in used.call_args_list], [(key,) for key in keys])

    async def test_who_is_asked_decides_anew_each_time(self) -> None:
        """Rules, freshness, offline: what was answered at once is not any more."""
        image = await self.cached()
        by_tag = request("/v2/library/app/manifests/1")
        by_digest = request(f"/v2/library/app/manifests/{image.digest}")
        for data in (by_tag, by_digest):
            await self.raw(data, times=2)
        self.at_once(allowed=True)
        cache, usual = self.node._cache, policy_of(self.node.settings)
        cache.policy = attrs.evolve(
            usual, rules={"docker.io": NameRules(deny=("library/*",), allow=())}
        )
        for data in (by_tag, by_digest):
            self.assertIn(b" 404 ", (await self.raw(data))[0][0])
        cache.policy = attrs.evolve(usual, tag_ttl=0.0)
        asked = self.hub.registry.count(method="HEAD", kind="manifest")
        self.assertIn(b" 200 ", (await self.raw(by_tag))[0][0])
        self.assertEqual(self.hub.registry.count(method="HEAD", kind="manifest"), asked + 1)
        for digest in (image.config, *image.layers):
            await self.node._store.drop_blob(Digest.parse(digest))
        cache.policy = attrs.evolve(usual, offline=True)
        for data in (by_tag, by_digest):
            answer = (await self.raw(data))[0][0]
            self.assertNotIn(b" 200 ", answer)
        self.assertNotIn(True, self.ways)


class ReadyCase(LoopbackCase):
    """Manifests of a fake registry, known at once."""

    timeouts = attrs.evolve(Timeouts(), client_idle=60.0)

    def setUp(self) -> None:
        super().setUp()
        self.registry.at_once = True
        self.digest = self.registry.add_manifest(BODY, "latest")

    def remembered(self) -> int:
        return len(self.site.heard._plain)


class HeardTests(ReadyCase):
    async def test_a_request_cut_anywhere_is_answered_as_a_whole_one(self) -> None:
        """Also when its bytes are known by heart: no half of them is taken for another."""
        data = request(LATEST)
        client = await self.connect()
        client.send(data)
        await client.whole()
        self.assertEqual(self.remembered(), 1)
        for at in range(1, len(data)):
            client.received.clear()
            client.send(data[:at])
            await turns(1)
            client.send(data[at:])
            self.assertEqual((await client.whole()).body, BODY)

    async def test_a_known_request_behind_half_a_line_is_part_of_that_line(self) -> None:
        data = request(LATEST)
        for half in (b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: "):
            client = await self.connect()
            client.send(data)
            await client.whole()
            client.received.clear()
            client.send(half)
            await turns(5)
            client.send(data)
            await until(client.replies)
            self.assertNotIn(BODY, client.received)

    async def test_pipelined_requests_are_answered_in_order(self) -> None:
        other = self.registry.add_manifest(b'{"schemaVersion": 2}', "other")
        client = await self.connect()
        for _ in range(3):
            client.received.clear()
            client.send(
                request(LATEST), request(f"/v2/library/alpine/manifests/{other}"), request(LATEST)
            )
            await until(lambda: [each.whole for each in client.replies()] == [True] * 3)
            bodies = [each.body for each in client.replies()]
            self.assertEqual(bodies, [BODY, b'{"schemaVersion": 2}', BODY])
        self.assertEqual(len(await self.finished(9)), 9)

    async def test_one_is_not_answered_before_the_one_before_it(self) -> None:
        """An answer that is still being looked for keeps a known one waiting."""
        self.registry.add_manifest(b"slow", "slow")
        client = await self.connect()
        client.send(request(LATEST))
        await client.whole()
        client.received.clear()
        hold: Deferred[None] = Deferred()
        self.registry.hold = hold
        self.registry.at_once = False
        client.send(request("/v2/library/alpine/manifests/slow"))
        await until(lambda: self.registry.asked)
        self.registry.at_once = True
        client.send(request(LATEST))
        await turns()
        self.assertEqual(client.received, b"")
        hold.callback(None)
        await until(lambda: len(client.replies()) == 2 and client.replies()[1].whole)
        self.assertEqual([each.body for each in client.replies()], [b"slow", BODY])

    async def test_the_idle_time_begins_anew_with_each(self) -> None:
        client = await self.connect()
        for _ in range(5):
            client.received.clear()
            client.send(request(LATEST))
            await client.whole()
            await self.finished()
            self.clock.advance(self.timeouts.client_idle * 0.7)
            await turns()
            self.assertFalse(client.closed)
        self.clock.advance(self.timeouts.client_idle * 0.4)
        await client.hung_up()

    async def test_what_is_remembered_is_bounded(self) -> None:
        client = await self.connect()
        for count in range(700):
            client.received.clear()
            client.send(request(LATEST, X_Count=str(count)))
            await client.whole()
        self.assertEqual(self.remembered(), 512)
        client.send(request(LATEST, X_Long="x" * 1100))
        await self.finished(701)
        self.assertEqual(self.remembered(), 512)
        self.assertEqual(len(self.site.ready._pages), 1)

    async def test_a_trace_that_nobody_repeats_is_not_remembered(self) -> None:
        client = await self.connect()
        client.send(request(LATEST, traceparent="00-" + "1a" * 16 + "-" + "2b" * 8 + "-01"))
        await client.whole()
        self.assertEqual(self.remembered(), 0)

    async def test_one_that_closes_behind_its_answer_is_closed(self) -> None:
        for _ in range(3):
            reply = await self.ask(LATEST)  # with Connection: close
            self.assertEqual((reply.body, reply.header("Connection")), (BODY, "close"))
        self.assertEqual(self.registry.gave, [])

    async def test_a_defect_is_told_of_and_the_long_way_gone(self) -> None:
        client = await self.connect()
        client.send(request(LATEST))
        await client.whole()
        client.received.clear()

        def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        self.registry.gave_manifest = broken  # type: ignore[method-assign, assignment]
        client.send(request(LATEST))
        self.assertEqual((await client.whole()).status, 500)
        self.assertEqual(self.told(Unexpected)[0].where, "an answer at once")


class DirectTests(ReadyCase):
    async def test_a_big_manifest_comes_whole_to_a_client_that_takes_its_time(self) -> None:
        big = b"[" + b" " * (4 * 1048 * 1048 - 2) + b"]"
        self.registry.add_manifest(big, "latest")
        client = await self.connect()
        client.stop_reading()
        client.send(request(LATEST))
        await until(lambda: self.registry.gave)
        await turns()
        self.assertEqual(self.told(RequestFinished), [])  # it waits for its client
        client.go_on_reading()
        self.assertEqual((await client.whole()).body, big)
        (event,) = await self.finished()
        self.assertEqual((event.outcome, event.bytes), ("complete", len(big)))

    async def test_a_client_that_does_not_read_is_not_answered_on_and_on(self) -> None:
        """Behind a full socket requests wait, unread; none of their answers is told of."""
        body = b"[" + b"1," * 15_000 + b"1]"
        self.registry.add_manifest(body, "latest")
        client = await self.connect()
        client.stop_reading()
        client.send(*[request(LATEST)] * 300)
        await turns(100)
        told = len(self.told(RequestFinished))
        self.assertLess(told, 300)
        client.go_on_reading()

        def all_came() -> bool:
            self.clock.advance(0)  # the next turn of who sent many requests
            return client.received.count(body) == 300

        await until(all_came)

    async def test_a_client_that_left_in_the_middle_is_told_of_once(self) -> None:
        client = await self.connect()
        client.send(request(LATEST))
        await client.whole()
        client.send(request(LATEST))
        client.leave()
        await client.hung_up()
        await turns()
        self.assertEqual(self.told(Unexpected), [])


class ReadyOverTlsTests(LoopbackCase):
    """The bytes go through TLS, never beside it."""

    listen = test_web_tls.TlsTests.listen
    dial = test_web_tls.TlsTests.dial

    async def test_manifests_known_at_once_come_encrypted(self) -> None:
        self.registry.at_once = True
        self.registry.add_manifest(BODY, "latest")
        client = await self.connect()
        for _ in range(3):
            client.received.clear()
            client.send(request(LATEST))
            self.assertEqual((await client.whole()).body, BODY)
        self.assertEqual(len(self.registry.gave), 3)
