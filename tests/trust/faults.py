"""Every fault, and what is to come of it on each leg. See ``shapes.Fault``."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Final

import attrs

from nodecache.peerwire import codec
from nodecache.peerwire.answers import Denied
from tests.fakes_http import (
    Bytes,
    Change,
    Plan,
    answer,
    black_hole,
    corrupt,
    drip,
    gzipped,
    html,
    raw,
    stall,
    truncated,
)
from tests.fakes_peer_lies import LIES, Lie
from tests.fakes_peer_lies import Plan as PeerPlan
from tests.trust import ways
from tests.trust.shapes import (
    BLOBS,
    BODIES,
    MANIFESTS,
    UPSTREAM,
    Arrange,
    Cause,
    Expect,
    Fault,
    Leg,
)

#: Seconds between two bytes of a drip: under the time that counts as silence.
DRIP: Final = 0.05
#: The body of a cell's blob; of a manifest and a token it is less.
BLOB_SIZE: Final = 160_000
#: Bytes that an answer only claims to have.
PEBIBYTE: Final = 1 << 50

NO_BODY = "an answer to HEAD has no body"
NO_TLS = "peers speak HTTP; their answers are signed"
NO_NAMES = "peers are dialled by address; their name is the matter of the tests of discovery"
NO_REALM = "only a registry names a token server"
NO_RANGE = "only a blob is asked for by range"


def at(legs: tuple[Leg, ...], what: Expect | str) -> dict[Leg, Expect | str]:
    return dict.fromkeys(legs, what)


def kinds(*names: str, words: str = "") -> dict[Leg, Cause]:
    return dict.fromkeys(UPSTREAM, Cause(kinds=names, words=words))


def status(code: int) -> dict[Leg, Cause]:
    return dict.fromkeys(UPSTREAM, Cause(status=code))


AWAY = at(UPSTREAM, Expect.AWAY)
REFUSED = at(UPSTREAM, Expect.ABSENT)


def _raw_peer(head: str, body: bytes = b"", **headers: str) -> Lie:
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    text = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n{named}\r\n"
    return lambda plan: attrs.evolve(plan, raw=text.encode("latin-1") + body)


def connection(
    name: str,
    *change: Change,
    arrange: Arrange | None = None,
    cause: Mapping[Leg, Cause],
    head: Expect = Expect.AWAY,
    slow: bool = False,
    lie: Lie | None = None,
    peer_kinds: tuple[str, ...] = (),
) -> Fault:
    """One that ends before there are headers: every leg is out of order.

    Where ``head`` is fine, an answer to HEAD that tells nothing costs a GET.
    """
    return Fault(
        name=name,
        change=change,
        arrange=arrange,
        expect=AWAY | {Leg.HEAD: head},
        cause=cause if head is Expect.AWAY else {**cause, Leg.HEAD: Cause()},
        slow=slow,
        lie=lie,
        peer_kinds=peer_kinds,
    )


CONNECTION: Final = (
    connection(
        "connection refused",
        arrange=ways.refuse,
        cause=kinds("unreachable", words="refused"),
        peer_kinds=("refused",),
    ),
    connection(
        "connection reset",
        arrange=ways.reset,
        cause=kinds("unreachable"),
        peer_kinds=("refused", "cut"),
    ),
    connection(
        "black hole",
        arrange=ways.black_hole,
        cause=kinds("unreachable", "timeout", words="in time"),
        slow=True,
        peer_kinds=("refused", "timeout"),
    ),
    connection(
        "silence after the request",
        black_hole,
        cause=kinds("timeout", words="in time"),
        slow=True,
        lie=LIES["silent"],
        peer_kinds=("timeout",),
    ),
    connection(
        "cut in the headers",
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/j"),
        cause=kinds("unreachable", "error", "cut"),
        lie=lambda plan: attrs.evolve(plan, cut_at=30),
        peer_kinds=("cut", "wrong", "refused"),
    ),
    connection(
        "stall in the headers",
        arrange=ways.headers_stall,
        cause=kinds("timeout", words="in time"),
        slow=True,
        peer_kinds=("timeout",),
    ),
    connection(
        "no HTTP",
        raw(b"SSH-2.0-OpenSSH_9.6\r\n" * 5),
        cause=kinds("error", "unreachable", "wrong"),
        lie=LIES["not-http"],
        peer_kinds=("wrong", "cut", "refused"),
    ),
    connection(
        "a length that is no number",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
        head=Expect.FINE,
        cause=kinds("error", "unreachable", "wrong"),
        lie=lambda plan: attrs.evolve(plan, raw=b"HTTP/1.1 206 OK\r\nContent-Length: many\r\n\r\n"),
        peer_kinds=("wrong", "cut", "refused"),
    ),
    connection(
        "two lengths",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345"),
        cause=kinds("error", "unreachable", "wrong"),
        lie=lambda plan: attrs.evolve(
            plan, raw=b"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345"
        ),
        peer_kinds=("wrong", "cut", "refused"),
    ),
    connection(
        "huge headers",
        ways.huge_headers,
        cause=kinds("error", "unreachable", "wrong", "timeout"),
        lie=LIES["huge-headers"],
        peer_kinds=("wrong", "cut", "refused", "timeout"),
    ),
)


def _secure(name: str, hosts: tuple[str, ...], *, life_days: int, words: str) -> Fault:
    return Fault(
        name=name,
        arrange=ways.certificate(hosts, life_days),
        expect=AWAY,
        cause=kinds("unreachable", words=words),
        https=True,
        peer=NO_TLS,
    )


def _lookup(name: str, *, silent: bool) -> Fault:
    return Fault(
        name=name,
        arrange=ways.lookup_silent if silent else ways.lookup_fails,
        expect=AWAY,
        cause=kinds("unreachable", "timeout", words="in time" if silent else "DNS"),
        slow=silent,
        named_hosts=True,
        peer=NO_NAMES,
    )


WAY_THERE: Final = (
    _secure("certificate expired", ("127.0.0.1",), life_days=-1, words="TLS"),
    _secure("certificate of another host", ("evil.example",), life_days=1, words="another host"),
    _lookup("DNS: no such name", silent=False),
    _lookup("DNS: silence", silent=True),
)


def refusal(code: int, expect: Expect, lie: Lie, *peer_kinds: str, **headers: str) -> Fault:
    after = " with Retry-After" if headers else ""
    return Fault(
        name=f"{code}{after}",
        change=(answer(code, b"<html>no</html>", "text/html", **headers),),
        expect=at(UPSTREAM, expect),
        cause=status(code),
        lie=lie,
        peer_kinds=peer_kinds,
    )


def _encoded(encoded: codec.Encoded) -> Lie:
    return lambda plan: attrs.evolve(
        plan, status=encoded.status, headers=encoded.headers, body=encoded.body, data=b""
    )


STATUSES: Final = (
    attrs.evolve(
        refusal(401, Expect.ABSENT, LIES["unknown-secret"], "stranger"),
        name="401 for ever",
        arrange=ways.unauthorised("{tokens}/token"),
        change=(),
    ),
    Fault(
        name="evil realm",
        arrange=ways.unauthorised("http://evil.example/token"),
        expect=at((Leg.HEAD, Leg.GET, Leg.REGISTRY), Expect.AWAY)
        | at((Leg.TOKEN,), NO_REALM)
        | at((Leg.CDN,), Expect.ABSENT),
        cause=kinds("wrong", words="token server") | {Leg.CDN: Cause(status=401)},
        lie=_raw_peer("401 No", WWW_Authenticate='Bearer realm="http://127.0.0.1:9/token"'),
        peer_kinds=("stranger", "wrong"),
    ),
    refusal(403, Expect.ABSENT, _encoded(codec.encode_answer(Denied("no"))), "denied"),
    refusal(404, Expect.ABSENT, LIES["absent"], "absent"),
    refusal(416, Expect.AWAY, _raw_peer("416 Range", Content_Range="bytes */1"), "wrong"),
    refusal(429, Expect.AWAY, _raw_peer("429 Slow", b"slow down"), "wrong"),
    refusal(429, Expect.AWAY, _raw_peer("429 Slow", Retry_After="1"), "wrong", Retry_After="1"),
    refusal(500, Expect.AWAY, LIES["500"], "error", "wrong"),
    refusal(502, Expect.AWAY, _raw_peer("502 Bad Gateway"), "error", "wrong"),
    refusal(503, Expect.AWAY, LIES["elsewhere"], "referral"),
)


def redirect(name: str, target: str, words: str, lie: Lie | None, *, https: bool = False) -> Fault:
    refused = "a token server's redirects are not followed: as 301 for ever"
    loop = name == "301 for ever"
    token: Expect | str = Expect.AWAY if loop else refused
    return Fault(
        name=name,
        arrange=ways.redirected(target),
        expect=AWAY | {Leg.TOKEN: token},
        cause=kinds("wrong", words=words) | {Leg.TOKEN: Cause(status=301)},
        https=https,
        prepare=ways.only_loopback_is_public if target == ways.PRIVATE else lambda _: None,
        lie=lie,
        peer="" if lie else "no redirect of a peer is followed: as 301 for ever",
        peer_kinds=("wrong",),
    )


REDIRECTS: Final = (
    redirect("301 for ever", "{here}", "no end", LIES["redirect"]),
    redirect("redirect to another scheme", "ftp://cdn.example/x", "another scheme", None),
    redirect("redirect from https to http", "http://cdn.example/x", "to http", None, https=True),
    redirect("redirect to a private address", ways.PRIVATE, "private", None),
)


def _longer(plan: Plan) -> Plan:
    whole = plan.body.read(0, plan.body.size)
    return attrs.evolve(plan, body=Bytes(whole + b"and more" * 64))


def _claims(size: int) -> Change:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: {size}\r\n\r\n"

    def change(plan: Plan) -> Plan:
        body = plan.body.read(0, plan.body.size)
        return attrs.evolve(plan, raw=(head % plan.media_type).encode() + body)

    return change


def _bomb(plan: Plan) -> Plan:
    body = gzip.compress(bytes(64 << 20), 9, mtime=0)
    headers = {**plan.headers, "Content-Encoding": "gzip"}
    return attrs.evolve(plan, body=Bytes(body), headers=headers, ranges=False)


def _not_utf8(plan: Plan) -> Plan:
    body = plan.body.read(0, plan.body.size)
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {plan.media_type}\r\nX-Note: \xff\xfe\r\n"
        f"Docker-Content-Digest: \xff\xfe\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return attrs.evolve(plan, raw=head.encode("latin-1") + body)


def _bad_text(plan: Plan) -> Plan:
    return attrs.evolve(plan, body=Bytes(b'{"token": "\xff\xfe", "schemaVersion": "\xff"}'))


def in_body(
    name: str,
    *change: Change,
    token: Expect | str = Expect.AWAY,
    get: Expect | str = Expect.AWAY,
    blob: Expect | str,
    head: Expect | str = NO_BODY,
    cause: Mapping[Leg, Cause],
    lie: Lie | None = None,
    peer: str = "",
    peer_kinds: tuple[str, ...] = (),
    peer_expect: Expect = Expect.FINE,
    peer_blob_only: bool = False,
    slow: bool = False,
) -> Fault:
    expect = {Leg.TOKEN: token, Leg.HEAD: head, Leg.GET: get} | at(BLOBS, blob)
    return Fault(
        name=name,
        change=change,
        expect=expect,
        cause=cause,
        lie=lie,
        peer=peer,
        peer_kinds=peer_kinds,
        peer_expect=peer_expect,
        peer_blob_only=peer_blob_only,
        slow=slow,
    )


def _cut_peer(share: int) -> Lie:
    def cut_off(plan: PeerPlan) -> PeerPlan:
        size = len(plan.data or plan.body or b"")
        return attrs.evolve(plan, cut_at=ways.PEER_HEAD + share * size // 64)

    return cut_off


def _or_of_its_body(lie: Lie) -> Lie:
    """What is said of a blob; a manifest has one wrong byte instead."""
    return lambda plan: lie(plan) if plan.data else LIES["one-wrong-byte"](plan)


def cut_at(share: int) -> Fault:
    """After so many 64ths of the body. A blob is taken up again as long as it moves on."""
    return in_body(
        f"cut at {share}/64 of the body",
        ways.cut_share(share),
        blob=Expect.FINE if share else Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("cut",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("resumed",))),
        lie=_cut_peer(share),
        peer_kinds=("cut", "refused", "wrong"),
    )


def _raw_utf8(plan: PeerPlan) -> PeerPlan:
    text = (
        b"HTTP/1.1 206 \xff\xfe\r\nNodecache-Answer: \xff\xfe\r\nContent-Length: 2\r\n\r\n\xff\xfe"
    )
    return attrs.evolve(plan, raw=text)


BODY: Final = (
    in_body(
        "stall in the middle of the body",
        ways.stall_half,
        blob=Expect.FINE,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("timeout",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("resumed",))),
        lie=LIES["stall"],
        peer_kinds=("timeout",),
        slow=True,
    ),
    in_body(
        "stall before the body",
        stall(0),
        blob=Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("timeout",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("resumed",))),
        lie=lambda plan: attrs.evolve(plan, stall_at=ways.PEER_HEAD),
        peer_kinds=("timeout",),
        slow=True,
    ),
    in_body(
        "a drip of single bytes",
        drip(1, DRIP),
        token=Expect.AWAY,
        blob=Expect.SLOW,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("timeout",))) | dict.fromkeys(BLOBS, Cause()),
        lie=lambda plan: attrs.evolve(plan, drip=DRIP),
        slow=True,
    ),
    in_body(
        "wrong bytes",
        corrupt,
        blob=Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("wrong",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("mismatch",))),
        # Their sums are right: only the digest of the whole tells.
        lie=_or_of_its_body(LIES["wrong-bytes"]),
        peer_kinds=("corrupt", "doubted", "mismatch"),
        peer_expect=Expect.EITHER,
    ),
    in_body(
        "one wrong byte",
        ways.one_wrong_byte,
        token="a token is any text",
        blob=Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("wrong",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("mismatch",))),
        lie=_or_of_its_body(LIES["wrong-sum"]),
        peer_kinds=("corrupt", "wrong"),
    ),
    in_body(
        "longer than it is",
        _longer,
        blob=Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("wrong",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("mismatch", "wrong"))),
        lie=LIES["too-long"],
        peer_blob_only=True,
        peer_kinds=("wrong",),
    ),
    in_body(
        "shorter than it is",
        ways.half_of_it,
        blob=Expect.BROKEN,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("wrong",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("mismatch", "wrong"))),
        lie=LIES["wrong-length"],
        peer_blob_only=True,
        peer_kinds=("wrong", "cut"),
    ),
    in_body(
        "empty",
        truncated(0),
        blob=Expect.AWAY,
        cause=dict.fromkeys(MANIFESTS, Cause(kinds=("wrong",)))
        | dict.fromkeys(BLOBS, Cause(kinds=("mismatch", "wrong"))),
        lie=lambda plan: attrs.evolve(plan, status=206, body=b"", data=b""),
        peer_kinds=("wrong", "cut", "stranger"),
    ),
    in_body(
        "a web page with 200",
        html(),
        head=Expect.AWAY,
        blob=Expect.AWAY,
        cause=kinds("wrong"),
        lie=LIES["html"],
        peer_kinds=("wrong",),
    ),
    in_body(
        "gzip that nobody asked for",
        gzipped,
        token=Expect.FINE,
        get=Expect.FINE,
        head=Expect.FINE,
        blob=Expect.AWAY,
        cause=dict.fromkeys(MANIFESTS, Cause()) | dict.fromkeys(BLOBS, Cause(kinds=("wrong",))),
        lie=_raw_peer("206 OK", gzip.compress(bytes(1000)), Content_Encoding="gzip"),
        peer_kinds=("wrong",),
    ),
    in_body(
        "gzip that grows to 64 MiB",
        _bomb,
        blob="a blob that comes encoded is refused unread: as the gzip above",
        cause=kinds("wrong", words="gzip"),
        peer="a peer's answer that is encoded is refused unread: as the gzip above",
    ),
    in_body(
        "a length of 1 PiB",
        _claims(PEBIBYTE),
        blob=Expect.BROKEN,
        cause=dict.fromkeys(BODIES, Cause(kinds=("wrong", "cut", "passed"))),
        lie=lambda plan: attrs.evolve(
            plan, headers={**plan.headers, "Nodecache-Total": str(PEBIBYTE)}
        ),
        peer_kinds=("wrong", "mismatch"),
        peer_expect=Expect.EITHER,
        peer_blob_only=True,
    ),
    in_body(
        "a manifest of 8 MiB",
        ways.inflated(8 << 20),
        token=Expect.AWAY,
        blob="a blob may be of any size",
        cause=kinds("wrong"),
        lie=LIES["endless-html"],
        peer_kinds=("wrong", "cut", "timeout"),
    ),
    in_body(
        "headers that are no UTF-8",
        _not_utf8,
        token=Expect.FINE,
        get=Expect.FINE,
        head="the same line as of the GET",
        blob=Expect.FINE,
        cause=dict.fromkeys(UPSTREAM, Cause()),
        lie=_raw_utf8,
        peer_kinds=("wrong", "cut", "refused"),
    ),
    in_body(
        "a body that is no UTF-8",
        _bad_text,
        blob="a blob is any bytes",
        cause=kinds("wrong"),
        peer="its documents are bound by a signature; the tests of its codec have them",
    ),
    in_body(
        "no digest, no length, no type",
        ways.bare,
        token=Expect.FINE,
        get=Expect.FINE,
        head="a HEAD without a digest costs a GET: the tests of manifests have it",
        blob=Expect.FINE,
        cause=dict.fromkeys(UPSTREAM, Cause()),
        lie=LIES["nonsense"],
        peer_kinds=("wrong",),
    ),
    in_body(
        "no range: 200 for all of it",
        ways.no_range,
        token=NO_RANGE,
        get=NO_RANGE,
        head=NO_RANGE,
        blob=Expect.FINE,
        cause=dict.fromkeys(BLOBS, Cause()),
        lie=_raw_peer("200 OK", bytes(1000)),
        peer_kinds=("wrong",),
    ),
    in_body(
        "another range than asked for",
        ways.shifted,
        token=NO_RANGE,
        get=NO_RANGE,
        head=NO_RANGE,
        blob=Expect.EITHER,
        cause=kinds("wrong"),
        lie=LIES["wrong-total"],
        peer_kinds=("wrong", "error", "corrupt", "mismatch"),
        peer_expect=Expect.EITHER,
        peer_blob_only=True,
    ),
)

CUTS: Final = tuple(cut_at(share) for share in range(64))

FAULTS: Final = (*CONNECTION, *WAY_THERE, *STATUSES, *REDIRECTS, *BODY, *CUTS)

__all__ = ["BLOB_SIZE", "CUTS", "DRIP", "FAULTS"]
