"""Manifests, greetings, suspicions, wishes and status on the peer port."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.events import PeerAnswered, Unexpected
from nodecache.failures import UpstreamKind
from nodecache.membership import Address
from nodecache.peerwire.answers import Absent, Elsewhere, Manifest, UpstreamAbsent
from nodecache.peerwire.codec import (
    HELLO,
    MANIFEST,
    STATUS,
    SUSPECT,
    WARM,
    decode_hello,
    decode_manifest_answer,
    encode_hello,
    encode_suspect,
    encode_warm,
    fields_of,
)
from nodecache.peerwire.hello import Hello, Known
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.peerwire.wishes import Fulfilment, Stage, Wish, decode_fulfilment, encode_wish
from nodecache.reference import Reference, Tag
from tests.fakes_peer_registry import Suspected
from tests.fakes_registry import IMAGE, digest_of
from tests.loopback import turns, until
from tests.peer_case import ALPINE, ASKER, ME, PeerCase

BODY = b'{"schemaVersion": 2}'
LATEST = Tag("latest")


def wanted(
    reference: Reference = LATEST, mode: Mode = Mode.ONLY_IF_HAVE, *, head: bool = False
) -> ManifestQuestion:
    return ManifestQuestion(ALPINE, reference, mode, 6.0, head)


class ManifestTests(PeerCase):
    async def manifest(self, asked: ManifestQuestion) -> Any:
        reply = await self.answer(self.asking_manifest(asked), head=asked.head)
        body = None if asked.head else reply.body
        return decode_manifest_answer(reply.status, fields_of(reply.headers), body)

    async def test_a_manifest_comes_with_all_that_is_known_of_it(self) -> None:
        digest = self.peers.add_manifest(BODY, "latest", age=12.5)
        right = Manifest(digest, IMAGE, len(BODY), 12.5, BODY)
        self.assertEqual(await self.manifest(wanted()), right)
        self.assertEqual(await self.manifest(wanted(digest)), right)
        told = await self.answered(2)
        self.assertEqual([each.what for each in told], ["tag", "manifest"])
        self.assertEqual({each.outcome for each in told}, {"hit"})
        self.assertEqual([asker for _, asker in self.peers.asked], [ASKER, ASKER])

    async def test_head_tells_what_a_tag_means(self) -> None:
        digest = self.peers.add_manifest(BODY, "latest", age=1.0)
        right = Manifest(digest, IMAGE, len(BODY), 1.0, None)
        self.assertEqual(await self.manifest(wanted(head=True)), right)

    async def test_what_is_not_to_be_had_is_told_as_it_is(self) -> None:
        self.assertEqual(await self.manifest(wanted()), Absent())

    async def test_a_search_that_takes_long_goes_on_while_the_peer_asks_again(self) -> None:
        self.peers.add_manifest(BODY, "latest")
        fetched = self.peers.fetched = Deferred()
        for number in range(2):
            client = await self.begin_asking(self.asking_manifest(wanted(mode=Mode.MAY_FETCH)))
            await until(lambda: self.site.active)
            self.clock.advance(self.timeouts.peer_patience)
            self.assertEqual((await client.whole()).status, 202)
            await self.answered(number + 1)
        self.assertEqual((len(self.peers.asked), self.peers.cancelled), (1, 0))
        fetched.callback(None)
        self.peers.fetched = None
        self.assertIsInstance(await self.manifest(wanted(mode=Mode.MAY_FETCH)), Manifest)
        self.assertEqual(len(self.peers.asked), 1)

    async def test_a_node_that_stops_asks_upstream_for_nobody(self) -> None:
        self.peers.add_manifest(BODY, "latest")
        self.site.leave()
        answer = await self.manifest(wanted(mode=Mode.MAY_FETCH))
        self.assertIsInstance(answer, Elsewhere)
        self.assertTrue(answer.leaving)
        # What it has, it gives.
        self.assertIsInstance(await self.manifest(wanted()), Manifest)

    async def test_a_defect_is_a_clean_500_and_one_event(self) -> None:
        self.peers.manifests["latest"] = ZeroDivisionError("a defect")
        reply = await self.answer(self.asking_manifest(wanted()))
        self.assertEqual((reply.status, reply.body), (500, b""))
        self.assertEqual(len(self.told(Unexpected)), 1)
        # The connection is as good as before.
        reply = await self.answer(self.signed(STATUS))
        self.assertEqual(reply.status, 200)

    async def test_refusals_of_upstream_are_passed_on(self) -> None:
        refusal = UpstreamAbsent(UpstreamKind.DENIED, "no access", 401)
        self.peers.manifests["latest"] = refusal
        self.assertEqual(await self.manifest(wanted(mode=Mode.MAY_FETCH)), refusal)
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.reason), ("upstream_absent", "no access"))


class HelloTests(PeerCase):
    def hello(self, **fields: Any) -> Hello:
        given: dict[str, Any] = {
            "id": ASKER,
            "wire": "1",
            "release": "1.1",
            "zone": "b",
            "addresses": (Address("10.0.0.2", 5001),),
            **fields,
        }
        return Hello(**given)

    async def greet(self, hello: Hello, status: int = 200) -> bytes:
        reply = await self.answer(self.signed(HELLO, "POST", encode_hello(hello)))
        self.assertEqual(reply.status, status)
        return reply.body

    async def test_a_greeting_is_merged_and_answered(self) -> None:
        known = (Known("node-7", Address("10.0.0.7", 5001), "c", 3.5),)
        hello = self.hello(known=known, busy=True)
        self.clock.advance(7.0)
        answer = decode_hello(await self.greet(hello))
        self.assertEqual(answer, self.members.hello(0.0))
        self.assertEqual(self.members.greetings, [(Address("10.0.0.2", 5001), hello, 7.0)])
        (told,) = await self.answered()
        self.assertEqual((told.peer, told.what, told.outcome), (ASKER, "hello", "hit"))

    async def test_of_several_addresses_the_one_it_came_from_is_met(self) -> None:
        addresses = (Address("fd00::2", 5001), Address("127.0.0.1", 5009))
        await self.greet(self.hello(addresses=addresses))
        self.assertEqual([where for where, _, _ in self.members.greetings], [addresses[1]])

    async def test_one_that_does_not_know_its_address_is_answered_all_the_same(self) -> None:
        self.assertEqual(decode_hello(await self.greet(self.hello(addresses=()))).id, ME)
        self.assertEqual(self.members.greetings, [])

    async def test_nobody_greets_in_the_name_of_another(self) -> None:
        await self.greet(self.hello(id="node-3"), 400)
        self.assertEqual(self.members.greetings, [])

    async def test_a_hello_of_five_thousand_nodes_is_read(self) -> None:
        known = tuple(
            Known(
                f"node-{n}.some-region.internal",
                Address(f"10.1.{n % 250}.{n // 250}", 5001),
                "z",
                1.0,
            )
            for n in range(10_000)
        )
        hello = self.hello(known=known)
        self.assertGreater(len(encode_hello(hello)), 500_000)
        await self.greet(hello)
        self.assertEqual(self.members.greetings[0][1], hello)
        self.assertEqual(self.site.held(), (0, 0, 0))

    async def test_one_that_is_stopping_says_so(self) -> None:
        self.site.leave()
        self.assertTrue(decode_hello(await self.greet(self.hello())).leaving)


class DocumentTests(PeerCase):
    broken = False

    def status(self) -> dict[str, Any]:
        if self.broken:
            raise ZeroDivisionError("a defect")
        return {"blobs": 3, "lanes": [1, 2]}

    async def test_status_is_json(self) -> None:
        reply = await self.answer(self.signed(STATUS))
        self.assertEqual(json.loads(reply.body), {"blobs": 3, "lanes": [1, 2]})
        self.assertEqual(reply.header("Nodecache-Answer"), "status")

    async def test_a_status_that_fails_is_a_defect(self) -> None:
        self.broken = True
        self.assertEqual((await self.answer(self.signed(STATUS))).status, 500)
        self.assertEqual(len(self.told(Unexpected)), 1)

    async def test_a_suspicion_reaches_the_registry_with_its_sender(self) -> None:
        digest = digest_of(BODY)
        sums = {0: (1, 2, 3), 5: (2**32 - 1,)}
        reply = await self.answer(self.signed(SUSPECT, "POST", encode_suspect(digest, sums)))
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.peers.suspected, [Suspected(digest, sums, ASKER)])

    async def test_a_wish_is_passed_on_with_who_has_it_and_how_far_it_is_comes_back(self) -> None:
        wish = Wish(ALPINE, LATEST, ("linux/arm64",), job="17")
        self.fulfilment = Fulfilment(Stage.FETCHING, 3, 7)
        reply = await self.answer(self.signed(WARM, "POST", encode_wish(wish)))
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.warmed, [(wish, ASKER)])
        self.assertEqual(decode_fulfilment(json.loads(reply.body)), self.fulfilment)

    async def test_a_wish_of_an_older_release_names_an_image_and_no_more(self) -> None:
        reply = await self.answer(self.signed(WARM, "POST", encode_warm(ALPINE, LATEST)))
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.warmed, [(Wish(ALPINE, LATEST), ASKER)])

    async def test_a_wish_that_is_none_is_not_passed_on(self) -> None:
        reply = await self.answer(self.signed(WARM, "POST", b'{"ns": "docker.io"}'))
        self.assertEqual((reply.status, self.warmed), (400, []))

    async def test_a_node_that_takes_no_wishes_says_so(self) -> None:
        self.site.desk._warm = None
        reply = await self.answer(self.signed(WARM, "POST", encode_warm(ALPINE, LATEST)))
        self.assertEqual(reply.status, 404)

    async def test_nothing_is_anywhere_else(self) -> None:
        for path in ("/", "/peer/v1/", "/peer/v2/status", STATUS + "/", "/metrics", "/v2/"):
            reply = await self.answer(self.signed(path))
            self.assertEqual((path, reply.status), (path, 404))
        self.assertEqual({(told.what, told.outcome) for told in await self.answered(6)}, NOTHING)

    async def test_each_path_has_its_method(self) -> None:
        for method, path in (
            ("GET", HELLO),
            ("GET", WARM),
            ("HEAD", STATUS),
            ("DELETE", MANIFEST),
            ("OPTIONS", SUSPECT),
        ):
            reply = await self.answer(self.signed(path, method), head=method == "HEAD")
            self.assertEqual((method, path, reply.status), (method, path, 405))

    async def test_what_can_not_be_understood_is_refused_with_a_word(self) -> None:
        cases = [
            ("GET", MANIFEST, b"", "is missing"),
            ("GET", MANIFEST + "?ns=docker.io&name=a/b&ref=x&mode=maybe&left=1", b"", "mode"),
            ("GET", "/peer/v1/blob?ns=docker.io", b"", "is missing"),
            ("POST", HELLO, b"{", "not JSON"),
            ("POST", HELLO, b"{}", "node id"),
            ("POST", SUSPECT, b"[]", "not an object"),
            ("POST", WARM, b'{"ns": 1}', "not an image"),
        ]
        for method, path, body, word in cases:
            reply = await self.answer(self.signed(path, method, body))
            self.assertEqual((path, reply.status), (path, 400))
            self.assertIn(word, reply.header("Nodecache-Message") or "")
        told = await self.answered(len(cases))
        self.assertEqual({each.outcome for each in told}, {"wrong"})
        self.assertEqual(self.told(Unexpected), [])

    async def test_a_peer_that_leaves_while_it_is_answered_is_no_defect(self) -> None:
        hold: Deferred[None] = Deferred()
        waiting: list[object] = []

        async def slow(*args: Any) -> None:
            waiting.append(args)
            await hold

        self.peers.peer_suspect = slow  # type: ignore[assignment,method-assign]
        body = encode_suspect(digest_of(BODY), {})
        client = await self.begin_asking(self.signed(SUSPECT, "POST", body))
        await until(lambda: waiting)
        client.leave()
        await self.answered()
        await turns()
        self.assertEqual([each.outcome for each in self.told(PeerAnswered)], ["cut"])
        self.assertEqual(self.told(Unexpected), [])


NOTHING = {("other", "wrong")}
