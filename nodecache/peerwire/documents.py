"""What peers send as JSON: greetings, suspicions, wishes and status.

Bodies are bounded before they get here: ``Limits.peer_hello_bytes`` for a
hello, MOST_SUSPECT and MOST_SMALL for the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from nodecache.failures import Failure
from nodecache.limits import CHECKSUM_BLOCK, KIB, MIB, SEGMENT
from nodecache.membership import Address
from nodecache.peerwire import fields as f
from nodecache.peerwire.answering import Encoded
from nodecache.peerwire.fields import WireFault
from nodecache.peerwire.hello import Hello, Known
from nodecache.reference import Digest, Reference, Repository, parse_reference

#: Bytes of a suspicion, and segments that it can name (32 GiB).
MOST_SUSPECT: Final = 1 * MIB
MOST_SEGMENTS: Final = 4096
#: Bytes of any other document.
MOST_SMALL: Final = 64 * KIB
#: Bytes a second that a node says of its link.
MOST_RATE: Final = 2**50
#: Nodes that one hello names, and addresses of one node.
MOST_KNOWN: Final = 20_000
MOST_ADDRESSES: Final = 16

_BLOCKS = SEGMENT // CHECKSUM_BLOCK


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Compact JSON; a number that JSON has no word for raises ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def decode_object(body: bytes) -> dict[str, Any]:
    """Any JSON object. Raises WireFault."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise WireFault("not JSON") from None
    if not isinstance(value, dict):
        raise WireFault("not an object")
    return value


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("not a number")


def encode_document(word: str, body: bytes = b"{}", status: int = 200) -> Encoded:
    """An answer to a hello, suspect, status or warm; ``word`` is which."""
    headers = {"Nodecache-Answer": word, "Content-Type": "application/json"}
    return Encoded(status, headers, body)


# Hello


def encode_hello(hello: Hello) -> bytes:
    """What is above the bounds is left out: the addresses and nodes that stand last."""
    known = [[k.id, str(k.address), k.zone, round(k.age, 3)] for k in hello.known[:MOST_KNOWN]]
    return encode_object(
        {
            "id": hello.id,
            "wire": hello.wire,
            "release": hello.release,
            "zone": hello.zone,
            "addresses": [str(address) for address in hello.addresses[:MOST_ADDRESSES]],
            "known": known,
            "leaving": hello.leaving,
            "busy": hello.busy,
            "instance": hello.instance,
            "inbound": hello.inbound,
            "behind": hello.behind,
        }
    )


def decode_hello(body: bytes) -> Hello:
    """Raises WireFault. Members that this version does not know are left alone."""
    value = decode_object(body)
    return Hello(
        id=f.node_id(value.get("id")),
        wire=f.release(value.get("wire")),
        release=f.release(value.get("release")),
        zone=f.zone(value.get("zone")),
        addresses=_addresses(value.get("addresses")),
        known=tuple(map(_known, _list(value.get("known"), MOST_KNOWN))),
        leaving=_flag(value.get("leaving")),
        busy=_flag(value.get("busy")),
        instance=f.zone(value.get("instance", "")),
        inbound=_rate(value.get("inbound", 0)),
        behind=_flag(value.get("behind", False)),
    )


def _addresses(value: object) -> tuple[Address, ...]:
    return tuple(map(f.address, _list(value, MOST_ADDRESSES)))


def _known(value: object) -> Known:
    parts = _list(value, 4)
    if len(parts) != 4:
        raise WireFault("not a node that is known")
    id_, address, zone, age = parts
    return Known(f.node_id(id_), f.address(address), f.zone(zone), _seconds(age))


def _list(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise WireFault("not a list, or one that is too long")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise WireFault("neither true nor false")
    return value


def _rate(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RATE:
        raise WireFault("not a number of bytes a second")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireFault("not a number of seconds")
    if not 0 <= value <= f.MOST_SECONDS or not math.isfinite(value):
        raise WireFault("seconds out of bounds")
    return float(value)


# Suspicions and wishes


def encode_suspect(digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> bytes:
    """``sums`` are the CRC-32 of the 1 MiB blocks of segments, by the segment's number."""
    named = {str(index): list(blocks) for index, blocks in list(sums.items())[:MOST_SEGMENTS]}
    return encode_object({"digest": str(digest), "sums": named})


def decode_suspect(body: bytes) -> tuple[Digest, dict[int, tuple[int, ...]]]:
    """Raises WireFault."""
    value = decode_object(body)
    sums = value.get("sums")
    if not isinstance(sums, dict) or len(sums) > MOST_SEGMENTS:
        raise WireFault("not the sums of segments, or of too many")
    return f.digest(value.get("digest")), {
        f.number(index, "segment", f.MOST_TOTAL // SEGMENT): tuple(
            map(_sum, _list(blocks, _BLOCKS))
        )
        for index, blocks in sums.items()
    }


def _sum(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise WireFault("not a CRC-32")
    return value


def encode_warm(repository: Repository, reference: Reference) -> bytes:
    """The wish that a node fetches an image."""
    return encode_object(
        {"ns": repository.namespace, "name": repository.name, "ref": str(reference)}
    )


def decode_warm(body: bytes) -> tuple[Repository, Reference]:
    """Raises WireFault."""
    value = decode_object(body)
    ns, name, ref = (value.get(key) for key in ("ns", "name", "ref"))
    if not (isinstance(ns, str) and isinstance(name, str) and isinstance(ref, str)):
        raise WireFault("not an image")
    if max(len(ns), len(name), len(ref)) > 255:
        raise WireFault("the image's name is overlong")
    try:
        return Repository(ns, name), parse_reference(ref)
    except Failure:
        raise WireFault("not an image") from None
