"""Clients and peers that behave badly over time, and what each port does with them.

An act says in words what it was answered; whatever else has to hold it asserts itself.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.task import deferLater

from nodecache.limits import KIB, MIB
from tests.fakes_client import until
from tests.loopback import Client
from tests.trust.abuse import CLOSED
from tests.trust.abuse_ground import (
    APP,
    BIG,
    Ground,
    Port,
    Signed,
    answer,
    good,
    target_of,
)

Run = Callable[[Ground, Port], Awaitable[str]]
EVERY: Final = tuple(Port)
#: Answers that are asked for in one write.
PIPELINED: Final = 100
#: Of requests that are sent in one go and whose answers nobody reads: more than buffers hold.
UNREAD: Final = 4_000
#: Those of a peer have to be signed one by one, and their answers are longer.
UNREAD_BY_PEER: Final = 1_500
#: Bytes that the kernel and a node may hold for a client that takes nothing.
HELD: Final = 16 * MIB
#: How often a client hangs up on an open-ended range.
HANG_UPS: Final = 40


@attrs.frozen
class Act:
    """``answers``: the same for all of ``ports``, or by port."""

    name: str
    run: Run
    answers: str | Mapping[Port, str]
    ports: tuple[Port, ...] = EVERY

    def expected(self, port: Port) -> str:
        return self.answers if isinstance(self.answers, str) else self.answers[port]


# Slow, or silent.


async def _ends(client: Client) -> str:
    await client.hung_up()
    return answer(client)


async def _drips(ground: Ground, client: Client, data: bytes) -> str:
    """A byte at a time, more slowly than the node waits for all of it."""
    for byte in itertools.cycle(data):
        if client.closed:
            break
        client.send(bytes([byte]))
        await deferLater(ground.reactor, 0.05)
    return answer(client)


async def drip_of_a_head(ground: Ground, port: Port) -> str:
    client = await ground.send(port, good(port)[:-4], b"\r\nX-A: ")
    return await _drips(ground, client, b"x")


async def drip_of_lines(ground: Ground, port: Port) -> str:
    client = await ground.send(port, good(port)[:-2])
    return await _drips(ground, client, b"a: b\r\n")


async def drip_of_a_body(ground: Ground, port: Port) -> str:
    target = "/peer/v1/hello" if port is Port.PEER else target_of(port)
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    return await _drips(ground, await ground.send(port, head.encode()), b"x")


async def silence(ground: Ground, port: Port) -> str:
    return await _ends(await ground.connect(port))


async def half_a_request(ground: Ground, port: Port) -> str:
    return await _ends(await ground.send(port, good(port)[:20]))


async def silence_after_an_answer(ground: Ground, port: Port) -> str:
    return await _ends(await ground.send(port, good(port, close=False)))


# Who does not read.


async def pipelined(ground: Ground, port: Port) -> str:
    """Every answer comes, in the order of the requests."""
    pattern = [number * number % 7 < 3 for number in range(PIPELINED)]
    nothing = target_of(port).rstrip("/").rpartition("/")[0] + "/nothing"
    client = await ground.send(
        port, *[good(port, "" if fine else nothing, close=False) for fine in pattern]
    )
    await client.hung_up()
    found = [reply.status for reply in client.replies()]
    assert found == [200 if fine else 404 for fine in pattern], found
    return f"{len(found)} answers in order"


async def reads_no_answer(ground: Ground, port: Port) -> str:
    count = UNREAD_BY_PEER if port is Port.PEER else UNREAD
    data = b"".join([good(port, close=False) for _ in range(count)])
    client, channel = await ground.pair(port)
    client.stop_reading()
    channel.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIB)
    client.send(data)
    await until(ground.reactor, lambda: channel.congested)
    await until(ground.reactor, lambda: channel not in ground.site(port).channels)
    client.go_on_reading()
    await client.hung_up()
    assert len(client.received) < 2 * MIB
    return "cut off"


async def sips_of_a_blob(ground: Ground, port: Port) -> str:
    """A byte now and then of 48 MiB: less than it takes to open the window of TCP again."""
    client, channel = await ground.pair(port)
    client.stop_reading()
    made: socket.socket = client.transport.getHandle()  # type: ignore[union-attr]
    client.send(_blob_request(ground, port))
    got = 0
    while channel in ground.site(port).channels:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            got += len(made.recv(1))
        await deferLater(ground.reactor, 0.05)
    client.leave()
    assert 0 < got < 1000
    return "cut off"


async def leaves_a_blob_unread(ground: Ground, port: Port) -> str:
    client, channel = await ground.pair(port)
    client.stop_reading()
    client.send(_blob_request(ground, port))
    await until(ground.reactor, lambda: channel not in ground.site(port).channels)
    client.go_on_reading()
    await client.hung_up()
    assert len(client.received) < HELD
    return "cut off"


def _blob_request(ground: Ground, port: Port) -> bytes:
    assert port is Port.MIRROR
    return good(port, f"/v2/{APP}/blobs/{ground.big}", close=False)


# Ranges.

#: Of a blob of 48 MiB, and how each is answered.
RANGES: Final = {
    "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)): 200,
    "bytes=" + ",".join(["0-"] * 1000): 200,
    "bytes=0-100,50-150,0-": 200,
    "bytes=5-2": 200,
    "bytes=-": 200,
    "bytes=-1-5": 200,
    "bytes=--5": 200,
    "bytes=+1-5": 200,
    "bytes=0x0-0x5": 200,
    "bytes= 0 - 5": 200,
    "octets=0-5": 200,
    "bytes=0-0": 206,
    f"bytes=0-{2**64}": 206,
    f"bytes=1-{10**50}": 206,
    f"bytes=-{2**64}": 206,
    f"bytes={BIG - 1}-": 206,
    f"bytes={BIG}-": 416,
    f"bytes={2**64}-": 416,
    f"bytes={2**64}-{2**65}": 416,
    f"bytes={'9' * 5000}-": 416,
    "bytes=-0": 416,
}


async def _has_its_head(ground: Ground, client: Client) -> None:
    await until(ground.reactor, lambda: b"\r\n\r\n" in client.received)


async def ranges(ground: Ground, port: Port) -> str:
    """Of the body as much is read as the headers take; then the client hangs up."""
    before = ground.hub.cdn.sent
    for value, status in RANGES.items():
        path = f"/v2/{APP}/blobs/{ground.big}"
        client = await ground.connect(port)
        client._sips = True  # it stops after what comes first
        client.send(good(port, path, f"Range: {value}"))
        await _has_its_head(ground, client)
        found = client.replies()[0].status
        assert found == status, (value[:40], found)
        client.leave()
    assert ground.hub.cdn.sent - before <= BIG + MIB
    return "200, 206, 416"


async def hung_up_on(ground: Ground, port: Port) -> str:
    """Open-ended ranges of a blob that is not here yet: it is fetched once, however often."""
    cold = ground.hub.add_pattern(APP, BIG, b"cold")
    before, count = ground.hub.cdn.sent, ground.hub.count(kind="blob")
    for number in range(HANG_UPS):
        first = BIG * number // HANG_UPS
        ranged = f"Range: bytes={first}-"
        client = await ground.send(port, good(port, f"/v2/{APP}/blobs/{cold}", ranged))
        await _has_its_head(ground, client)
        client.leave()
    await until(ground.reactor, lambda: ground.filling() == 0)
    assert ground.hub.cdn.sent - before <= BIG + 8 * MIB
    asked = ground.hub.count(kind="blob") - count
    assert asked < HANG_UPS, asked
    return "fetched once"


# Names.

PATHS: Final = (
    "//v2/", "/v2//", "/v2/../v2/", "/v2/%2e%2e/v2/", "/v2/%2E%2E%2Fetc%2Fpasswd",
    "/v2/library%2fapp/manifests/1", "/v2/library/app%00/manifests/1", "/v2/a/../../b/manifests/1",
    "/v2/library/app/manifests/..%2f..%2f1", "/v2/library/app/blobs/sha256:..%2f..%2f..",
    "/v2/\xe9\xe9/manifests/1", "/v2/%c3%a9/manifests/1", "/v2/%ff%fe/manifests/1",
    "/v2/%e2%80%ae/manifests/1", "/v2/library/app/manifests/%0d%0aX:y", "/v2/%zz/manifests/1",
    "/v2/library\\app/manifests/1", "/v2/a/manifests/1/../../../b", "/v2/%252e%252e/manifests/1",
    "/v2/evil.example%2f@x/manifests/1", "/v2/http:%2f%2fevil.example/manifests/1",
    "/v2/" + "a/" * 7000 + "manifests/1", "/v2/" + "a" * 15000, "/v2/;/manifests/1",
)  # fmt: skip

NAMESPACES: Final = (
    "evil.example", "evil.example:443", "127.0.0.1", "127.0.0.1:22", "127.1", "2130706433",
    "0x7f000001", "017700000001", "0", "localhost", "localhost:5000", "169.254.169.254",
    "metadata.google.internal", "[::1]", "[::1]:80", "[fe80::1%25eth0]", "[::ffff:127.0.0.1]",
    "docker.io@evil.example", "user:pass@docker.io", "docker.io:pass@evil.example",
    "docker.io.evil.example", "docker.io%00.evil.example", "docker.io%0d%0aHost:evil.example",
    "docker.io%23.evil.example", "docker.io%2f..%2fevil.example", "http://docker.io",
    "//evil.example", "docker.io:0", "docker.io:99999", "xn--dcker-jua.io", "d\xf6cker.io",
    "%e2%91%a0.example", "*", "..", ".", "%20docker.io", "docker.io%20", "DOCKER.IO.",
    "docker.io,evil.example", "docker.io&ns=evil.example",
)  # fmt: skip


async def paths(ground: Ground, port: Port) -> str:
    """No file and no upstream is touched for any of them."""
    count = ground.hub.count()
    with ground.only_named():
        for path in PATHS:
            client = await ground.send(port, good(port, path))
            await client.hung_up()
            (reply,) = client.replies()
            assert reply.status in (400, 404, 431), (path, reply.status)
    assert ground.hub.count() == count
    return "400, 404, 431"


async def namespaces(ground: Ground, port: Port) -> str:
    """Whatever is named, only hosts of the settings are dialled, and no name is resolved."""
    with ground.only_named():
        for namespace in NAMESPACES:
            for what in ("manifests/9", f"blobs/sha256:{'0' * 64}", "tags/list"):
                client = await ground.send(port, good(port, f"/v2/{APP}/{what}?ns={namespace}"))
                await client.hung_up()
                (reply,) = client.replies()
                assert reply.status in (400, 404), (namespace, what, reply.status)
    return "400, 404"


# Peers.


def _peer(lines: Sequence[str], target: str, method: str = "GET", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    every = [f"{method} {target} HTTP/1.1", "Host: x", *lines, *length, "Connection: close", "", ""]
    return "\r\n".join(every).encode() + body


def _forged() -> dict[str, tuple[bytes, ...]]:
    """By name, requests on connections of their own; the last of them is the forged one."""
    status, hello = "/peer/v1/status", "/peer/v1/hello"
    fine = _peer(Signed().lines(), status)
    lines = Signed().lines()
    body = b'{"id": "node1"}'
    of_body = Signed(hello, "POST", body=body).lines()
    return {
        "without a signature": (_peer([], status),),
        "signed with another secret": (_peer(Signed(secret="not the secret").lines(), status),),
        "signed with no secret": (_peer(Signed(secret="").lines(), status),),
        "an old signature": (_peer(Signed(late=60.0).lines(), status),),
        "a signature from the future": (_peer(Signed(late=-60.0).lines(), status),),
        "a replayed one": (fine, fine),
        "for another path": (_peer(Signed("/peer/v1/blob").lines(), status),),
        "for another method": (_peer(Signed(method="POST").lines(), status),),
        "for another node": (_peer(Signed(to="node9").lines(), status),),
        "of another body": (_peer(of_body, hello, "POST", body.replace(b"1", b"6")),),
        "of another asker": (_peer([x.replace("node1", "node6") for x in lines], status),),
        "with a range that it does not cover": (_peer([*Signed().lines(), "Range: x"], status),),
        "twice": (_peer([*Signed().lines(), Signed().lines()[3]], status),),
        "junk": (_peer([*lines[:3], "Nodecache-Signature: " + "x" * 5000], status),),
    }


def _forging(name: str) -> Run:
    async def run(ground: Ground, port: Port) -> str:
        *before, forged = _forged()[name]
        for each in before:
            assert await _ends(await ground.send(port, each)) == "200"
        client = await ground.send(port, forged)
        found = await _ends(client)
        assert (b"Nodecache-Proof" in client.received) == (found == "421")
        return found

    return run


MIRROR: Final = (Port.MIRROR,)
PEER: Final = (Port.PEER,)

ACTS: Final = (
    Act("a head, a byte at a time", drip_of_a_head, CLOSED),
    Act("lines without end, a byte at a time", drip_of_lines, CLOSED),
    Act("a body, a byte at a time", drip_of_a_body, CLOSED),
    Act("a connection, and silence", silence, CLOSED),
    Act("half a request, and silence", half_a_request, CLOSED),
    Act("a request, and silence", silence_after_an_answer, "200"),
    Act("100 requests in one write", pipelined, f"{PIPELINED} answers in order"),
    Act("thousands of requests, and reads no answer", reads_no_answer, "cut off"),
    Act("reads a byte of a blob now and then", sips_of_a_blob, "cut off", MIRROR),
    Act("asks for a blob and reads nothing", leaves_a_blob_unread, "cut off", MIRROR),
    Act("games with ranges", ranges, "200, 206, 416", MIRROR),
    Act("hangs up on open-ended ranges, 40 times", hung_up_on, "fetched once", MIRROR),
    Act("tricks with paths", paths, "400, 404, 431", MIRROR),
    Act("tricks with namespaces", namespaces, "400, 404", MIRROR),
    *(
        Act(
            f"signature: {name}",
            _forging(name),
            "421" if name == "for another node" else "401",
            PEER,
        )
        for name in _forged()
    ),
)
