"""Whom the peer port serves: nobody without the secret, and nothing twice."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from nodecache.events import PeerAnswered, TurnedAway, Unexpected
from nodecache.limits import MIB, Limits
from nodecache.peerwire.codec import HELLO, STATUS, SUSPECT, WARM, encode_hello
from nodecache.peerwire.documents import MOST_SMALL, MOST_SUSPECT
from nodecache.peerwire.hello import Hello
from nodecache.web.peer_site import UNSIGNED_BYTES, UNSIGNED_BYTES_OF_ONE
from nodecache.web.turned_away import PATIENCE
from tests.loopback import WALL, Client, request, turns, until
from tests.peer_case import ASKER, ME, SECRET, PeerCase, Sent

OTHER = b"the secret of another cluster"
NEXT = b"the next secret of this cluster"


class TrustCase(PeerCase):
    async def turned_away(self, raw: bytes | Sent) -> PeerAnswered:
        """It was refused as a stranger's, without a word, and the connection closed."""
        client = await self.connect()
        client.send(raw.raw if isinstance(raw, Sent) else raw)
        await client.hung_up()
        reply = client.reply
        self.assertEqual((reply.status, reply.body), (401, b""))
        self.assertEqual(reply.header("Nodecache-Time"), str(int(self.wall * 1000)))
        self.assertEqual(reply.header("Connection"), "close")
        told = {name.lower() for name, _ in reply.headers}
        wire = {name for name in told if name.startswith("nodecache-")}
        self.assertEqual(wire, {"nodecache-time", "nodecache-peer", "nodecache-wire"})
        return (await self.answered(len(self.told(PeerAnswered)) or 1))[-1]

    def untouched(self) -> None:
        """Nothing was asked, and nothing learned."""
        self.assertEqual((self.peers.asked, self.members.greetings, self.warmed), ([], [], []))
        self.assertEqual(self.told(Unexpected), [])


class SignatureTests(TrustCase):
    async def test_what_is_not_signed_is_not_read(self) -> None:
        for path in (STATUS, "/", "/metrics", "/peer/v1/blob?" + "a" * 1000, "*", "/v2/"):
            told = await self.turned_away(request(path))
            self.assertEqual((told.outcome, told.status), ("unsigned", 401))
            self.assertEqual(told.peer, "127.0.0.1")
        self.untouched()

    async def test_another_clusters_secret_is_a_strangers(self) -> None:
        told = await self.turned_away(self.signed(STATUS, secret=OTHER))
        self.assertEqual(told.outcome, "stranger")
        # What it says of itself is not believed.
        self.assertEqual(told.peer, "127.0.0.1")
        self.untouched()

    async def test_a_signature_for_another_time_is_refused_on_both_sides_of_the_window(
        self,
    ) -> None:
        window = self.timeouts.peer_window
        for at in (WALL - window - 0.1, WALL + window + 0.1, 0.0, WALL * 100):
            told = await self.turned_away(self.signed(STATUS, at=at))
            self.assertEqual(told.outcome, "stranger")
            self.assertIn("another time", told.reason)
        for at in (WALL - window + 0.1, WALL + window - 0.1):
            self.assertEqual((await self.answer(self.signed(STATUS, at=at))).status, 200)
        self.untouched()

    async def test_a_clock_that_went_back_tells_the_time_by_which_it_judges(self) -> None:
        self.assertEqual((await self.answer(self.signed(STATUS))).status, 200)
        self.wall -= 3600.0
        client = await self.begin_asking(self.signed(STATUS))
        await client.hung_up()
        self.assertEqual(client.reply.header("Nodecache-Time"), str(int(WALL * 1000)))
        self.assertEqual((await self.answer(self.signed(STATUS, at=WALL))).status, 200)

    async def test_what_was_answered_is_not_answered_again(self) -> None:
        sent = self.signed(STATUS)
        self.assertEqual((await self.answer(sent)).status, 200)
        told = await self.turned_away(sent)
        self.assertEqual(told.outcome, "replayed")
        # Nor later, within the window.
        self.wall += self.timeouts.peer_window
        self.assertEqual((await self.turned_away(sent)).outcome, "replayed")

    async def test_whatever_is_changed_breaks_the_signature(self) -> None:
        sent = self.signed(f"{STATUS}?a=1", headers={"Range": "bytes=0-1"}, span="bytes=0-1").raw
        changes = [
            (b"GET", b"HEAD"),
            (b"GET", b"POST"),
            (b"status?a=1", b"status?a=2"),
            (b"status?a=1", b"status"),
            (b"bytes=0-1", b"bytes=0-2"),
            (b"Range: bytes=0-1\r\n", b""),
            (b"Nodecache-Peer: node-2", b"Nodecache-Peer: node-3"),
            (b"Nodecache-To: node-1", b"Nodecache-To: node-4"),
            (b"t=18", b"t=17"),
            (b"s=", b"s=00"),
        ]
        for old, new in changes:
            self.assertIn(old, sent)
            told = await self.turned_away(sent.replace(old, new))
            self.assertEqual((new, told.outcome), (new, "stranger"))
        self.assertEqual((await self.connect_and_send(sent)).status, 200)
        self.untouched()

    async def connect_and_send(self, raw: bytes) -> Any:
        client = await self.connect()
        client.send(raw)
        return await client.whole()

    async def test_a_body_that_was_changed_is_not_read(self) -> None:
        body = encode_hello(Hello(ASKER, "1", "1.0", "", ()))
        sent = self.signed(HELLO, "POST", body).raw
        await self.turned_away(sent.replace(b'"release":"1.0"', b'"release":"6.6"'))
        self.untouched()

    async def test_headers_that_came_twice_are_not_believed(self) -> None:
        sent = self.signed(STATUS).raw
        for name in (b"Nodecache-Peer: node-2", b"Nodecache-Wire: 1", b"nodecache-to: node-1"):
            told = await self.turned_away(sent.replace(b"\r\n\r\n", b"\r\n" + name + b"\r\n\r\n"))
            self.assertEqual(told.outcome, "unsigned")
        self.untouched()

    async def test_a_second_range_is_not_signed_and_so_not_taken(self) -> None:
        sent = self.signed(STATUS, span="bytes=0-1").raw
        await self.turned_away(sent.replace(b"\r\n\r\n", b"\r\nRange: bytes=5-9\r\n\r\n"))

    async def test_a_question_for_another_node_is_answered_as_such(self) -> None:
        """It is signed well: somebody else's address was used again."""
        reply = await self.answer(self.signed(STATUS, to="node-9"))
        self.assertEqual((reply.status, reply.header("Nodecache-Answer")), (421, "misdirected"))
        (told,) = await self.answered()
        self.assertEqual((told.outcome, told.peer), ("wrong", "127.0.0.1"))

    async def test_one_who_knows_but_our_address_is_served(self) -> None:
        self.assertEqual((await self.answer(self.signed(STATUS, to="10.0.0.1:5001"))).status, 200)

    async def test_a_node_without_a_name_is_not_served(self) -> None:
        for name in ("", "two words", "a" * 300):
            reply = await self.answer(self.signed(STATUS, node=name))
            self.assertEqual(reply.status, 400)

    async def test_when_no_more_can_be_remembered_nobody_is_served(self) -> None:
        """A forgotten nonce would be a hole; whoever asks is told to come later."""
        self.site._verifier._nonces._most = 1
        self.assertEqual((await self.answer(self.signed(STATUS))).status, 200)
        reply = await self.answer(self.signed(STATUS))
        self.assertEqual((reply.status, reply.header("Nodecache-Answer")), (503, "elsewhere"))
        self.wall += 2 * self.timeouts.peer_window + 1
        self.assertEqual((await self.answer(self.signed(STATUS))).status, 200)


class VersionTests(TrustCase):
    async def test_another_version_is_told_ours_before_anything_is_checked(self) -> None:
        for sent in (
            self.signed(STATUS, headers={"Nodecache-Wire": "2"}),
            self.signed(STATUS, secret=OTHER, headers={"Nodecache-Wire": "0"}),
        ):
            client = await self.begin_asking(sent)
            await client.hung_up()
            self.assertEqual(client.reply.status, 426)
            self.assertEqual(client.reply.header("Nodecache-Wire"), "1")
            self.assertIsNone(client.reply.header("Nodecache-Proof"))
        self.assertEqual({told.outcome for told in await self.answered(2)}, {"version"})
        self.untouched()


class RotationTests(TrustCase):
    """Three steps, in each of which nodes with the old file and the new one serve each other."""

    async def test_a_rotation_splits_the_cluster_at_no_step(self) -> None:
        for accepted, signs in (
            ([SECRET], SECRET),
            ([SECRET, NEXT], SECRET),  # 1: the next one is accepted
            ([NEXT, SECRET], SECRET),  # 2: it signs; the others may not know yet
            ([NEXT, SECRET], NEXT),
            ([NEXT], NEXT),  # 3: the old one goes
        ):
            self.secrets = accepted
            # The answer is proven by the secret that the question was signed with.
            reply = await self.answer(self.signed(STATUS, secret=signs))
            self.assertEqual(reply.status, 200)
        await self.turned_away(self.signed(STATUS, secret=SECRET))

    async def test_of_three_secrets_each_is_accepted(self) -> None:
        self.secrets = [OTHER, NEXT, SECRET]
        for secret in self.secrets:
            self.assertEqual((await self.answer(self.signed(STATUS, secret=secret))).status, 200)
        await self.turned_away(self.signed(STATUS, secret=b"a fourth one"))

    async def test_without_a_secret_nobody_is_served(self) -> None:
        self.secrets = []
        await self.turned_away(self.signed(STATUS))
        await self.turned_away(self.signed(STATUS, secret=b""))


class BodyTests(TrustCase):
    limits = Limits(peer_hello_bytes=2 * MIB)

    async def too_much(self, *raw: bytes) -> None:
        client = await self.connect()
        client.send(*raw)
        await client.hung_up()
        self.assertEqual(client.reply.status, 413)
        self.assertEqual((await self.answered())[-1].outcome, "unsigned")
        self.untouched()

    async def test_only_three_paths_have_bodies_and_each_its_bound(self) -> None:
        for path, most in (
            (HELLO, self.limits.peer_hello_bytes),
            (SUSPECT, MOST_SUSPECT),
            (WARM, MOST_SMALL),
            (STATUS, 0),
            ("/peer/v1/blob", 0),
            ("/elsewhere", 0),
        ):
            await self.too_much(request(path, "POST", Content_Length=str(most + 1)))
        for method in ("GET", "PUT", "HEAD"):
            await self.too_much(request(HELLO, method, Content_Length="1"))

    async def test_a_chunked_body_is_cut_off_where_it_is_too_long(self) -> None:
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        await self.too_much(request(WARM, "POST", Transfer_Encoding="chunked"), *[chunk] * 4)
        await until(lambda: self.site.held() == (0, 0, 0))  # who is refused is heard out

    async def test_a_signed_body_in_chunks_is_read(self) -> None:
        body = encode_hello(Hello(ASKER, "1", "1.0", "", ()))
        raw = self.signed(HELLO, "POST", body).raw
        head, _, _ = raw.partition(b"\r\n\r\n")
        head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
        client = await self.connect()
        client.send(head, b"\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.assertEqual((await client.whole()).status, 200)

    async def test_bodies_of_strangers_together_have_a_bound(self) -> None:
        for held, most in (("127.0.0.1", UNSIGNED_BYTES_OF_ONE), ("10.0.0.7", UNSIGNED_BYTES)):
            await self.fills(held, most)

    async def fills(self, held: str, most: int) -> None:
        """With all but 1000 bytes of ``most`` held for ``held``, 900 go and 1800 do not."""
        clients: list[Client] = []
        self.site._unsigned[held] = most - 1000
        for _ in range(2):
            client = await self.connect()
            client.send(request(HELLO, "POST", Content_Length="10000") + b"x" * 900)
            clients.append(client)
            await turns()
        await clients[1].hung_up()
        self.assertEqual(clients[1].reply.status, 413)
        self.assertEqual(self.site.held()[0], most - 100)
        # What was held for one is free once it is gone, or was found to be a stranger.
        clients[0].leave()
        await until(lambda: self.site.held()[0] == most - 1000)
        await self.turned_away(request(HELLO, "POST", Content_Length="900") + b"x" * 900)
        self.assertEqual(self.site.held()[0], most - 1000)
        self.site._unsigned.clear()

    async def test_a_body_of_a_form_is_not_taken_apart(self) -> None:
        body = b"a=1&" * 1000
        sent = self.signed(HELLO, "POST", body, headers={"Content-Type": FORM})
        self.assertEqual((await self.answer(sent)).status, 400)


FORM = "application/x-www-form-urlencoded"


class ConnectionTests(TrustCase):
    limits = Limits(peer_clients=3, header_lines=50, header_bytes=8192)

    async def test_connections_have_a_bound_of_their_own(self) -> None:
        clients = [await self.connect() for _ in range(5)]
        await until(lambda: len(self.site.turned_away) == 2)
        self.clock.advance(PATIENCE)
        await until(lambda: sum(client.closed for client in clients) == 2)
        self.assertEqual(len(self.site.channels), 3)
        told = [(event.port, event.limit, event.status) for event in self.told(TurnedAway)]
        self.assertEqual(told, [("peer", "all", 503)] * 2)

    async def test_one_too_many_is_told_so(self) -> None:
        self.site.most_per_address = 1
        await self.connect()
        await until(lambda: self.site.channels)
        client = await self.connect()
        client.send(request(STATUS))
        await until(client.replies)
        self.assertEqual((client.reply.status, client.reply.header("Retry-After")), (503, "1"))
        self.assertEqual([event.limit for event in self.told(TurnedAway)], ["address"])

    async def test_one_address_can_not_take_the_place_of_all(self) -> None:
        self.site.most_per_address = 2
        clients = [await self.connect() for _ in range(4)]
        await until(lambda: len(self.site.turned_away) == 2)
        self.clock.advance(PATIENCE)
        await until(lambda: sum(client.closed for client in clients) == 2)
        self.source = "127.0.0.2"
        elsewhere = await self.connect()
        await until(lambda: len(self.site.channels) == 3)
        self.assertFalse(elsewhere.closed)

    async def test_the_place_of_one_that_left_is_free(self) -> None:
        self.site.most_per_address = 1
        first = await self.connect()
        first.leave()
        await until(lambda: not self.site.channels)
        second = await self.connect()
        await until(lambda: len(self.site.channels) == 1)
        self.assertFalse(second.closed)

    async def test_a_request_that_does_not_come_is_not_waited_for(self) -> None:
        client = await self.connect()
        for line in (b"GET /peer/v1/status HTTP/1.1\r\n", b"Host: x\r\n", b"A: b\r\n"):
            client.send(line)
            await turns()
            self.clock.advance(self.timeouts.client_idle / 3)
        await client.hung_up()
        self.assertEqual(client.received, b"")

    async def test_a_body_that_does_not_come_is_not_waited_for(self) -> None:
        client = await self.connect()
        client.send(request(HELLO, "POST", Content_Length="1000") + b"x" * 10)
        await until(lambda: self.site.held()[0])
        self.clock.advance(self.timeouts.client_idle + 1)
        await client.hung_up()
        self.assertEqual((client.received, self.site.held()[0]), (b"", 0))

    async def test_too_many_and_too_long_headers_are_refused(self) -> None:
        for raw in (
            request(STATUS, headers={f"A-{number}": "b" for number in range(60)}),
            request(STATUS, headers={"A": "b" * 10_000}),
            request("/" + "a" * 20_000),
        ):
            client = await self.connect()
            client.send(raw)
            await client.hung_up()
            self.assertEqual(client.reply.status, 431)
        self.untouched()

    async def test_what_is_no_http_is_refused(self) -> None:
        for raw in (b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9\r\nA b\r\n\r\n"):
            client = await self.connect()
            client.send(raw)
            await client.hung_up()
            self.assertEqual(client.reply.status, 400)
        self.assertEqual({told.outcome for told in await self.answered(3)}, {"unsigned"})
        self.untouched()


#: What may stand in a header's value, and some that may not.
VALUES = st.one_of(
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60),
    st.sampled_from(
        [
            "t=1, n=0, s=0",
            "t=1800000000000, n=" + "0" * 32 + ", s=" + "0" * 64,
            "t=" + "9" * 15 + ", n=" + "f" * 32 + ", s=" + "f" * 64,
            "1",
            ME,
            "bytes=0-",
            "bytes=5-1",
            "chunked",
            "100-continue",
        ]
    ),
)
NAMES = st.sampled_from(
    [
        "Nodecache-Peer",
        "Nodecache-To",
        "Nodecache-Wire",
        "Nodecache-Signature",
        "nodecache-signature",
        "Nodecache-Proof",
        "Nodecache-X",
        "Range",
        "Cookie",
        "Host",
        "Expect",
        "Content-Type",
        "If-Range",
    ]
)
PATHS = st.sampled_from(
    [STATUS, HELLO, "/peer/v1/blob?ns=%ff", "/peer/v1/manifest?&&&=", "/%00", "//", "*", "?"]
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "BREW", "get", "OPTIONS"])


class HostileTests(TrustCase):
    def test_no_stranger_is_served_or_makes_a_defect(self) -> None:
        """Whatever the headers: refused, or the connection closed; and no event of a defect."""

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(METHODS, PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=8))
        def holds(method: str, path: str, headers: list[tuple[str, str]]) -> None:
            lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers)]
            raws.append("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))

        raws: list[bytes] = []
        holds()
        return Deferred.fromCoroutine(self._send_all(raws))  # type: ignore[return-value]

    async def _send_all(self, raws: list[bytes]) -> None:
        for raw in raws:
            client = await self.connect()
            client.send(raw)
            await client.hung_up()
            with contextlib.suppress(ValueError):
                for reply in client.replies(head=raw.startswith(b"HEAD")):
                    self.assertIn(reply.status, (100, 400, 401, 413, 426, 431))
        self.untouched()

    def test_no_signed_question_makes_a_defect(self) -> None:
        """Nor does a peer of the cluster, whatever it asks."""

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            METHODS,
            st.sampled_from(["blob", "manifest", "hello", "suspect", "warm", "status", "x"]),
            st.text(st.sampled_from("ns=&name%0fdigestmodeleft sha256:/?+é-1"), max_size=80),
            st.sampled_from(["", "bytes=0-1", "bytes=0-", "bytes=9-1", "x" * 200]),
            st.one_of(
                st.binary(max_size=80), st.sampled_from([b"{}", b"[]", b'{"id":1}', b"null"])
            ),
        )
        def holds(method: str, path: str, query: str, span: str, body: bytes) -> None:
            target = f"/peer/v1/{path}?{query}".replace(" ", "%20")
            has_body = method == "POST" and path in ("hello", "suspect", "warm")
            sents.append(
                (method, self.signed(target, method, body if has_body else b"", span=span))
            )

        sents: list[tuple[str, Sent]] = []
        holds()
        return Deferred.fromCoroutine(self._ask_all(sents))  # type: ignore[return-value]

    async def _ask_all(self, sents: list[tuple[str, Sent]]) -> None:
        for method, sent in sents:
            closing = sent.raw.replace(b"Host:", b"Connection: close\r\nHost:", 1)
            client = await self.connect()
            client.send(closing)
            await client.hung_up()
            (reply,) = client.replies(head=method == "HEAD")
            self.assertIn(reply.status, (200, 400, 401, 404, 405, 503))
        self.assertEqual(self.told(Unexpected), [])
