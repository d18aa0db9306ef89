"""Heads that could be read in two ways, who is refused in the middle, and whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.web.channel import HEARD_OUT, IN_A_ROW, LINGER
from nodecache.web.lines import can_go_on, is_header, version_of
from tests.loopback import LoopbackCase, request, until


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (b"GET / HTTP/1.1", 1),
        (b"M-SEARCH * HTTP/1.0", 0),
        (b"GET /\xc3\xa9 HTTP/1.1", 1),
        (b"", None),
        (b"GET /", None),
        (b"GET  / HTTP/1.1", None),
        (b"GET / HTTP/1.1 ", None),
        (b"GET / HTTP/1.2", None),
        (b"GET / http/1.1", None),
        (b"GET\t/ HTTP/1.1", None),
        (b"G:T / HTTP/1.1", None),
        (b"GET /\x00 HTTP/1.1", None),
        (b"GET /\n HTTP/1.1", None),
    ],
)
def test_request_lines(line: bytes, version: int | None) -> None:
    assert version_of(line) == version


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        (b"Host: x", True),
        (b"X-A:", True),
        (b"X-A:\t b: c \xff", True),
        (b"Content-Length: 0", True),
        (b"content-length:\t52 \t", True),
        (b"Transfer-Encoding: Chunked", True),
        (b"Host:", True),
        (b"host: localhost:5000 ", True),
        (b"Host: [fd00::1]:5000", True),
        (b"Host: 10.0.0.1", True),
        (b"Host: a/../b", False),
        (b"Host: a b", False),
        (b"Host: user@a", False),
        (b"Host: a:b", False),
        (b"X-A : b", False),
        (b" folded", False),
        (b"\tfolded", False),
        (b"X A: b", False),
        (b": b", False),
        (b"X-A", False),
        (b"X-A: b\x00", False),
        (b"X-A: b\rc", False),
        (b"X-A: b\nc", False),
        (b"Content-Length: +0", False),
        (b"Content-Length: 0, 0", False),
        (b"Content-Length:", False),
        (b"Content-Length: " + b"9" * 5000, False),
        (b"Transfer-Encoding: gzip, chunked", False),
        (b"Transfer-Encoding: identity", False),
        (b"Transfer-Encoding: \x0bchunked", False),
    ],
)
def test_header_lines(line: bytes, fine: bool) -> None:
    assert is_header(line, 1) is fine


def test_http_1_0_knows_no_chunks() -> None:
    assert not is_header(b"Transfer-Encoding: chunked", 0)


@pytest.mark.parametrize(
    ("data", "fine"),
    [
        (b"", True),
        (b"X-A: b\r", True),
        (b"X-A: b\r\nX-B", True),
        (b"X-A: b\r\n\r", True),
        (b"\n", False),
        (b"X-A: b\nX-B", False),
        (b"X-A: b\r\nX-B\nX-C", False),
        (b"X-A\rb", False),
    ],
)
def test_what_may_become_a_line(data: bytes, fine: bool) -> None:
    assert can_go_on(data) is fine


@given(st.binary(max_size=60))
def test_a_header_that_is_let_pass_has_a_name_and_no_end_within(line: bytes) -> None:
    if is_header(line, 1):
        name, colon, value = line.partition(b":")
        assert name
        assert colon
        assert name.strip(b" \t") == name
        assert not set(b"\r\n\x00") & set(value)


class HostTests(LoopbackCase):
    """Also where the bytes of a request have been heard before."""

    async def statuses(self, *requests: bytes) -> list[int]:
        client = await self.connect()
        for each in requests:
            before = len(client.replies())
            client.send(each)
            await until(lambda: len(client.replies()) > before)  # noqa: B023 -- awaited here
        return [reply.status for reply in client.replies()]

    async def test_a_request_names_one_host(self) -> None:
        good = request("/v2/")
        none = good.replace(b"Host: localhost:5000\r\n", b"")
        two = good.replace(b"Host: localhost:5000\r\n", b"Host: a\r\nHOST: b\r\n")
        self.assertEqual(await self.statuses(good, good, none), [200, 200, 400])
        self.assertEqual(await self.statuses(none), [400])
        self.assertEqual(await self.statuses(good, two), [200, 400])

    async def test_http_1_0_may_name_none(self) -> None:
        old = b"GET /v2/ HTTP/1.0\r\n\r\n"
        self.assertEqual(await self.statuses(old), [200])


class RefusedInTheMiddleTests(LoopbackCase):
    """A socket that is closed with bytes unread takes the answer away with it."""

    async def refused(self) -> object:
        client = await self.connect()
        client.stop_reading()
        client.send(b"nonsense\r\n")
        await until(lambda: any(channel.refused for channel in self.site.channels))
        return client

    async def test_what_is_still_sent_is_thrown_away_for_a_moment(self) -> None:
        client = await self.connect()
        client.send(b"nonsense\r\n" + b"x" * (HEARD_OUT // 4))
        await client.hung_up()
        self.assertEqual((client.reply.status, client.reply.whole), (400, True))
        await until(lambda: not self.site.channels)

    async def test_who_does_not_close_is_closed(self) -> None:
        await self.refused()
        self.assertEqual(len(self.site.channels), 1)
        self.clock.advance(LINGER)
        await until(lambda: not self.site.channels)

    async def test_who_sends_without_end_is_closed(self) -> None:
        client = await self.connect()
        client.stop_reading()
        client.send(b"nonsense\r\n", b"x" * (2 * HEARD_OUT))
        await until(lambda: not self.site.channels)
        client.go_on_reading()
        await client.hung_up()


class TurnTests(LoopbackCase):
    async def test_who_sends_many_requests_lets_others_have_their_turn(self) -> None:
        client = await self.connect()
        client.send(request("/v2/") * (3 * IN_A_ROW))
        await until(lambda: len(client.replies()) >= IN_A_ROW)
        self.assertEqual((await self.ask("/v2/")).status, 200)
        self.assertEqual(len(client.replies()), IN_A_ROW)
        self.clock.advance(0)
        await until(lambda: len(client.replies()) == 3 * IN_A_ROW)

    async def test_who_shuts_its_side_behind_many_requests_gets_all_answers(self) -> None:
        client = await self.connect()
        client.send(request("/v2/") * (IN_A_ROW + 1))
        client.shut_sending()
        await until(lambda: len(client.replies()) == IN_A_ROW)
        self.clock.advance(0)
        await client.hung_up()
        self.assertEqual(len(client.replies()), IN_A_ROW + 1)

    async def test_who_leaves_behind_many_requests_leaves_nothing(self) -> None:
        client = await self.connect()
        client.send(request("/v2/") * (IN_A_ROW + 1))
        await until(lambda: len(client.replies()) == IN_A_ROW)
        client.leave()
        await until(lambda: not self.site.channels)
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])
