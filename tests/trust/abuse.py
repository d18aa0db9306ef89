"""What no client should send, as bytes, and how each port has to answer it.

A shape is made for a port out of the request that it would answer with 200. Each is sent in one
write on a connection of its own. ``answers`` are the statuses that come, in order, then the node
has closed the connection; whatever stands behind a refused request is never read as another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from tests.trust.abuse_ground import Port, Signed, good, method_of, target_of

#: In place of statuses: the connection is closed without a word.
CLOSED: Final = "closed"
#: What would be answered with 200 if it were taken for a request of its own.
BEHIND: Final = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

Make = Callable[[Port], bytes]


@attrs.frozen
class Shape:
    """``answers``: the same for all ports, or by port; ports that are missing are left out."""

    kind: str
    name: str
    make: Make
    answers: str | Mapping[Port, str] = "400"

    def expected(self, port: Port) -> str | None:
        return self.answers if isinstance(self.answers, str) else self.answers.get(port)

    @property
    def id(self) -> str:
        return f"{self.kind}: {self.name}"


def each(mirror: str, peer: str = "", admin: str = "", control: str = "") -> dict[Port, str]:
    """By port; like the mirror's where nothing is said."""
    given = (mirror, peer or mirror, admin or mirror, control or mirror)
    return dict(zip(Port, given, strict=True))


def with_lines(*lines: str, body: str = "", close: bool = True) -> Make:
    """A good request with more header lines; without its own Content-Length."""

    def make(port: Port) -> bytes:
        return good(port, "", *lines, length=False, close=close) + body.encode("latin-1")

    return make


def start(line: str, *lines: str, end: str = "\r\n", body: str = "") -> Make:
    """``line`` in place of the request line; ``{t}`` is a good target, ``{m}`` the method."""

    def make(port: Port) -> bytes:
        first = line.replace("{t}", target_of(port)).replace("{m}", method_of(port))
        more = Signed(target_of(port)).lines() if port is Port.PEER else []
        every = [first, "Host: localhost", *more, *lines, "Connection: close", "", ""]
        return (end.join(every) + body).encode("latin-1")

    return make


def raw(data: bytes) -> Make:
    return lambda port: data


def replaced(old: str, new: str) -> Make:
    """A good request with something else in one place."""

    def make(port: Port) -> bytes:
        data = good(port)
        assert old.encode() in data
        return data.replace(old.encode(), new.encode("latin-1"), 1)

    return make


_CHUNKED: Final = "Transfer-Encoding: chunked"


def _lengths() -> list[Shape]:
    """Whose end two readers would see in different places."""
    kind = "length"
    both = f"0\r\n\r\n{BEHIND}"
    shapes = [
        Shape(kind, "length and chunks", with_lines("Content-Length: 5", _CHUNKED, body=both)),
        Shape(kind, "chunks and length", with_lines(_CHUNKED, "Content-Length: 5", body=both)),
        Shape(
            kind,
            "two lengths",
            with_lines("Content-Length: 0", "Content-Length: 52", body=BEHIND),
        ),
        Shape(kind, "the same length twice", with_lines(*["Content-Length: 0"] * 2)),
        Shape(kind, "chunks twice", with_lines(_CHUNKED, _CHUNKED, body="0\r\n\r\n")),
        Shape(kind, "chunks to HTTP/1.0", start("{m} {t} HTTP/1.0", _CHUNKED, body=both)),
    ]
    for value in (
        "+0", "-0", "-1", "0x0", "0,0", "0, 0", "0 0", "", "zero", "1e1", "0.0", "\xb2", "_1",
        "1_0", "0;", '"0"', "9" * 30 + "x",
    ):  # fmt: skip
        named = value[:8] if len(value) > 8 else value
        shapes.append(Shape(kind, f"length {named!r}", with_lines(f"Content-Length: {value}")))
    for value in (
        "chunked, identity", "identity, chunked", "gzip, chunked", "xchunked", "chunkedx",
        "chunked, chunked", '"chunked"', "chunked;q=1", "\x0bchunked", "chun ked", "", "chunked,",
    ):  # fmt: skip
        make = with_lines(f"Transfer-Encoding: {value}", body=both)
        shapes.append(Shape(kind, f"encoding {value!r}", make))
    for digits in (20, 4000, 5000, 15000):
        make = with_lines("Content-Length: " + "9" * digits)
        shapes.append(
            Shape(kind, f"a length of {digits} digits", make, "413" if digits < 100 else "400")
        )
    return shapes


def _chunks() -> list[Shape]:
    shapes = []
    for name, body in (
        ("size +1", "+1\r\na\r\n0\r\n\r\n"),
        ("size 0x1", "0x1\r\na\r\n0\r\n\r\n"),
        ("size -1", "-1\r\na\r\n0\r\n\r\n"),
        ("size with a space", " 1\r\na\r\n0\r\n\r\n"),
        ("no size", "\r\na\r\n0\r\n\r\n"),
        ("size of words", "chunk\r\n"),
        ("a size line of 100,000 bytes", "1;" + "x" * 100_000 + "\r\na\r\n0\r\n\r\n"),
        ("trailers of 1 MB", "0\r\n" + "A: b\r\n" * 170_000 + "\r\n"),
    ):
        shapes.append(Shape("chunk", name, with_lines(_CHUNKED, body=body)))
    more = with_lines(_CHUNKED, body="1\r\nab\r\n0\r\n\r\n")
    shapes.append(Shape("chunk", "longer than its size", more, each("400", "413")))
    bare = with_lines(_CHUNKED, body="1\na\n0\n\n")
    shapes.append(Shape("chunk", "bare line feeds", bare, CLOSED))
    longer = with_lines(_CHUNKED, body="f" * 32 + "\r\n" + "x" * (2 << 20))
    shapes.append(Shape("chunk", "size of 32 digits", longer, "413"))
    return shapes


def _lines() -> list[Shape]:
    kind = "line"
    shapes = []
    for name, line in (
        ("a space before the colon", "X-A : b"),
        ("a tab before the colon", "X-A\t: b"),
        ("a space before the colon of the length", "Content-Length : 5"),
        ("a space before the colon of the encoding", "Transfer-Encoding : chunked"),
        ("a space in the name", "X A: b"),
        ("no name", ": b"),
        ("no colon", "X-A"),
        ("a name that is no token", "X(A): b"),
        ("a name that is no ASCII", "X-\xc4: b"),
        ("NUL in the name", "X\0A: b"),
        ("NUL in the value", "X-A: b\0c"),
        ("a bare CR in the value", "X-A: b\rTransfer-Encoding: chunked"),
        ("a bare LF in the value", "X-A: b\nTransfer-Encoding: chunked"),
        ("a folded line", "X-A: b\r\n c"),
        ("a folded length", "Content-Length:\r\n 0"),
        ("a folded encoding", "Transfer-Encoding:\r\n chunked"),
    ):
        shapes.append(Shape(kind, name, with_lines(line)))
    shapes += [
        Shape(kind, "a folded line before all others", start("{m} {t} HTTP/1.1\r\n X: y")),
        Shape(kind, "line feeds alone", start("{m} {t} HTTP/1.1", end="\n")),
        Shape(kind, "carriage returns alone", start("{m} {t} HTTP/1.1", end="\r")),
        Shape(kind, "10,000 lines", with_lines(*[f"X-{n}: y" for n in range(10_000)]), "431"),
        Shape(kind, "201 lines", with_lines(*[f"X-{n}: y" for n in range(201)]), "431"),
        Shape(kind, "a line of 100,000 bytes", with_lines("X-A: " + "y" * 100_000), "431"),
        Shape(kind, "a name of 100,000 bytes", with_lines("X" * 100_000 + ": y"), "431"),
        Shape(kind, "lines of 70,000 bytes", with_lines(*["X-A: " + "y" * 7_000] * 10), "431"),
        Shape(kind, "a line folded 10,000 times", with_lines("X-A: b" + "\r\n c" * 10_000)),
    ]
    return shapes


def _starts() -> list[Shape]:
    kind = "request line"
    shapes = []
    for name, line in (
        ("HTTP/0.9", "{m} {t}"),
        ("HTTP/1.2", "{m} {t} HTTP/1.2"),
        ("HTTP/2.0", "{m} {t} HTTP/2.0"),
        ("HTTP/3", "{m} {t} HTTP/3"),
        ("HTTP/11.1", "{m} {t} HTTP/11.1"),
        ("http/1.1", "{m} {t} http/1.1"),
        ("another protocol", "{m} {t} ICAP/1.0"),
        ("a space behind it", "{m} {t} HTTP/1.1 "),
        ("a space before it", " {m} {t} HTTP/1.1"),
        ("two spaces", "{m}  {t} HTTP/1.1"),
        ("a tab", "{m}\t{t}\tHTTP/1.1"),
        ("a space in the target", "{m} {t} x HTTP/1.1"),
        ("no target", "{m} HTTP/1.1"),
        ("NUL in the target", "{m} {t}\0 HTTP/1.1"),
        ("NUL in the method", "{m}\0 {t} HTTP/1.1"),
        ("a method that is no token", "G@T {t} HTTP/1.1"),
        ("a method that is no ASCII", "G\xcbT {t} HTTP/1.1"),
    ):
        shapes.append(Shape(kind, name, start(line)))
    for name, line in (
        ("a target of 100,000 bytes", "{m} {t}" + "x" * 100_000 + " HTTP/1.1"),
        ("a method of 100,000 bytes", "M" * 100_000 + " {t} HTTP/1.1"),
    ):
        shapes.append(Shape(kind, name, start(line), "431"))
    shapes += [
        Shape(kind, "HTTP/1.0", start("{m} {t} HTTP/1.0", "X-A: b"), "200"),
        Shape(
            kind,
            "an absolute target",
            start("{m} http://evil.example{t} HTTP/1.1"),
            each("400", "401", "404", "404"),
        ),
        Shape(
            kind,
            "an absolute target at the metadata address",
            start("{m} http://169.254.169.254/latest/meta-data HTTP/1.1"),
            each("400", "401", "404", "404"),
        ),
        Shape(
            kind,
            "CONNECT",
            start("CONNECT evil.example:443 HTTP/1.1"),
            each("405", "401", "405", "405"),
        ),
        Shape(kind, "OPTIONS *", start("OPTIONS * HTTP/1.1"), each("405", "401", "405", "405")),
        Shape(kind, "*", start("{m} * HTTP/1.1"), each("400", "401", "404", "404")),
        Shape(kind, "TRACE", start("TRACE {t} HTTP/1.1"), each("405", "401", "405", "405")),
    ]
    return shapes


def _others() -> list[Shape]:
    kind = "another protocol"
    shapes = []
    for name, data in (
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30)),
        ("PROXY", b"PROXY TCP4 1.2.3.4 1.2.3.4 5 6\r\n" + BEHIND.encode()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("SMTP", b"EHLO evil.example\r\nMAIL FROM:<a@b>\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("empty lines", b"\r\n" * 1000 + BEHIND.encode()),
    ):
        shapes.append(Shape(kind, name, raw(data)))
    shapes += [
        Shape(kind, "100,000 bytes of no line", raw(bytes(range(128, 256)) * 800), "431"),
        Shape(
            kind,
            "an upgrade to WebSocket",
            with_lines("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="),
            "200",
        ),
        Shape(kind, "an upgrade to HTTP/2", with_lines("Upgrade: h2c"), "200"),
        Shape(kind, "Expect: 100-continue", with_lines("Expect: 100-continue"), "100, 200"),
        Shape(kind, "Expect: junk", with_lines("Expect: the-spanish-inquisition"), "200"),
    ]
    return shapes


def _hosts() -> list[Shape]:
    kind = "host"
    host = "Host: localhost"
    return [
        Shape(kind, "none", replaced(f"{host}\r\n", "")),
        Shape(kind, "none, in HTTP/1.0", _of_old, "200"),
        Shape(kind, "two", replaced(host, f"{host}\r\nHost: evil.example")),
        Shape(kind, "the same twice", replaced(host, f"{host}\r\n{host}")),
        Shape(
            kind,
            "two in HTTP/1.0",
            replaced(f" HTTP/1.1\r\n{host}", f" HTTP/1.0\r\n{host}\r\n{host}"),
        ),
        Shape(kind, "another", replaced(host, "Host: evil.example"), each("200", "", "421", "200")),
        Shape(kind, "junk", replaced(host, "Host: a/../b@c:99999")),
        Shape(kind, "none behind a good one", _none_behind, "200, 400"),
    ]


def _of_old(port: Port) -> bytes:
    return good(port).replace(b" HTTP/1.1\r\nHost: localhost\r\n", b" HTTP/1.0\r\n")


def _none_behind(port: Port) -> bytes:
    """The good one is remembered by its bytes; what follows is read all the same."""
    return good(port, close=False) + good(port).replace(b"Host: localhost\r\n", b"")


def _bodies() -> list[Shape]:
    kind = "body"
    return [
        Shape(
            kind,
            "1 GB is said to come",
            with_lines("Content-Length: 1000000000"),
            "413",
        ),
        Shape(
            kind,
            "1 GB is said to come, if it is wanted",
            with_lines("Content-Length: 1000000000", "Expect: 100-continue"),
            "413",
        ),
        Shape(
            kind,
            "2 MB come",
            with_lines(f"Content-Length: {2 << 20}", body="x" * (2 << 20)),
            "413",
        ),
        Shape(
            kind,
            "2 MB come in chunks",
            with_lines(_CHUNKED, body=("8000\r\n" + "x" * 0x8000 + "\r\n") * 64 + "0\r\n\r\n"),
            "413",
        ),
    ]


def shapes() -> tuple[Shape, ...]:
    """All of them, by kind."""
    return (
        *_lengths(), *_chunks(), *_lines(), *_starts(), *_others(), *_hosts(), *_bodies(),
    )  # fmt: skip
