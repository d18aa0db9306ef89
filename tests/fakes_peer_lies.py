"""What a lying peer is about to answer, as a value, and the lies that change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from nodecache.byteranges import Span
from nodecache.failures import UpstreamKind
from nodecache.limits import WIRE_VERSION
from nodecache.peerwire import codec
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching
from nodecache.peerwire.frames import Encoder, Kind, head
from tests.fakes_http import Gate

_WRONG = bytes(byte ^ 1 for byte in range(256))
OTHER_SECRET: Final = b"a secret of someone else"
NOTHING: Final = Span(0, 0)


@attrs.frozen(kw_only=True)
class Plan:
    """What is about to be answered. ``data`` are the bytes of a blob's ``span``.

    Counts are of bytes of the answer as it is sent, from its first header on.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None = b""
    data: bytes = b""
    span: Span = NOTHING
    node: str
    wire: str = WIRE_VERSION
    proof: bool = True
    secret: bytes
    flip_sums: bool = False
    fail: tuple[UpstreamKind, str] | None = None  # instead of the second half
    silent: bool = False
    raw: bytes | None = None  # instead of all
    stall_at: int | None = None
    cut_at: int | None = None
    alive: bool = False  # for ever, after half of the bytes
    headers_for_ever: bool = False
    drip: float | None = None  # seconds between pieces of 64 KiB
    hold: Gate | None = None


Lie: TypeAlias = "Callable[[Plan], Plan]"


def _set(**change: Any) -> Lie:
    return lambda plan: attrs.evolve(plan, **change)


def _raw(status: str, body: bytes, **headers: str) -> Lie:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in named.items()]
    return _set(raw="\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def _half(plan: Plan) -> int:
    return 400 + len(plan.data or plan.body or b"") // 2


def _wrong_bytes(plan: Plan) -> Plan:
    """Their sums are right."""
    return attrs.evolve(plan, data=plan.data.translate(_WRONG))


def _one_wrong_byte(plan: Plan) -> Plan:
    """Of a manifest the last byte, too; an answer without bytes stays as it is."""
    if not plan.data:
        body = plan.body or b""
        return attrs.evolve(plan, body=body[:-1] + bytes(byte ^ 1 for byte in body[-1:]))
    return attrs.evolve(plan, data=plan.data[:-1] + bytes((plan.data[-1] ^ 1,)))


def _too_short(plan: Plan) -> Plan:
    """It ends well, before its end."""
    short = len(plan.data) // 2
    return attrs.evolve(
        plan, data=plan.data[:short], span=Span(plan.span.start, plan.span.start + short)
    )


def _too_long(plan: Plan) -> Plan:
    return attrs.evolve(plan, data=plan.data + b"!", span=Span(plan.span.start, plan.span.stop + 1))


def _wrong_total(plan: Plan) -> Plan:
    total = int(plan.headers.get("Nodecache-Total", 0)) + 1
    return attrs.evolve(plan, headers={**plan.headers, "Nodecache-Total": str(total)})


def _encoded(encoded: codec.Encoded) -> Lie:
    return _set(status=encoded.status, headers=encoded.headers, body=encoded.body, data=b"")


LIES: Final[Mapping[str, Lie]] = {
    "silent": _set(silent=True),
    "hang-up": _set(raw=b""),
    "stall": lambda plan: attrs.evolve(plan, stall_at=_half(plan)),
    "stall-in-headers": _set(stall_at=30),
    "cut": lambda plan: attrs.evolve(plan, cut_at=_half(plan)),
    "500": _raw("500 Oops", b"oops"),
    "signed-500": _set(status=500, headers={"Nodecache-Answer": "defect"}, body=b"", data=b""),
    "html": _raw("200 OK", b"<html>Please log in.</html>", Content_Type="text/html"),
    "endless-html": _set(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"<p>" * 400_000),
    "redirect": _raw("302 Found", b"", Location="http://127.0.0.1:9/peer/v1/blob"),
    "not-http": _set(raw=b"SSH-2.0-OpenSSH_9.6\r\n" * 5),
    "wrong-length": _too_short,
    "too-long": _too_long,
    "wrong-total": _wrong_total,
    "wrong-bytes": _wrong_bytes,
    "one-wrong-byte": _one_wrong_byte,
    "wrong-sum": _set(flip_sums=True),
    "unsigned": _set(proof=False),
    "other-secret": _set(secret=OTHER_SECRET),
    "unknown-secret": _raw("401 Unauthorized", b"", Nodecache_Wire=WIRE_VERSION),
    "version": _raw("426 Upgrade Required", b"", Nodecache_Wire="99"),
    "wrong-id": _set(node="somebody-else"),
    "huge-headers": _set(headers_for_ever=True),
    "endless-alive": _set(alive=True),
    "fail": _set(fail=(UpstreamKind.CUT, "upstream cut it off")),
    "fetching": _encoded(codec.encode_answer(Fetching(0.05))),
    "absent": _encoded(codec.encode_answer(Absent())),
    "elsewhere": _encoded(codec.encode_answer(Elsewhere(0.05))),
    "leaving": _encoded(codec.encode_answer(Elsewhere(0.05, leaving=True))),
    "nonsense": _set(status=206, headers={"Nodecache-Answer": "maybe"}, body=b""),
    "drip": _set(drip=0.05),
    "replay": lambda plan: plan,  # shows the answer before this one again
}


def frames_of(plan: Plan) -> Iterator[bytes]:
    """The frames of a blob's body, as honest as the plan."""
    encoder = Encoder(plan.span)
    data = plan.data[: len(plan.data) // 2] if plan.fail else plan.data
    for at in range(0, len(data), 256 * 1024):
        yield _flipped(encoder.data(data[at : at + 256 * 1024]), plan)
    if plan.fail is not None:
        yield b"".join([*encoder.sum(), *encoder.fail(*plan.fail)])
    else:
        yield _flipped(encoder.end(), plan)


def _flipped(parts: list[bytes], plan: Plan) -> bytes:
    if plan.flip_sums:
        sums = [index + 1 for index, part in enumerate(parts[:-1]) if part == head(Kind.SUM, 4)]
        for index in sums:
            parts[index] = bytes((parts[index][0] ^ 1,)) + parts[index][1:]
    return b"".join(parts)
