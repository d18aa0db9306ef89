"""The axes of the matrix, and what a fault is."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from tests.fakes_http import Change
from tests.fakes_peer_lies import Lie


class Leg(enum.Enum):
    """A question of the node to somebody else."""

    TOKEN = "token"
    HEAD = "manifest HEAD"
    GET = "manifest GET"
    REGISTRY = "blob at registry"
    CDN = "blob at CDN"
    PEER = "peer"


UPSTREAM = (Leg.TOKEN, Leg.HEAD, Leg.GET, Leg.REGISTRY, Leg.CDN)
MANIFESTS = (Leg.TOKEN, Leg.HEAD, Leg.GET)
BLOBS = (Leg.REGISTRY, Leg.CDN)
#: Legs whose answer has a body that is read.
BODIES = (Leg.TOKEN, Leg.GET, Leg.REGISTRY, Leg.CDN)


class State(enum.Enum):
    """What the node has of what it is asked for."""

    COLD = "cold"
    WARM = "warm"
    STALE = "stale"
    FLIGHT = "in flight"


class Expect(enum.Enum):
    """What a client of a cold node gets."""

    FINE = "whole"  # 200 and the right bytes
    ABSENT = "404"  # go and ask elsewhere
    AWAY = "503"  # of a manifest; of a blob 404
    BROKEN = "broken off"  # 200, and the connection ends before the body does
    EITHER = "whole or broken off"
    SLOW = "as slow as upstream"


#: Brings a fault about on a ground; what it gives back ends it.
Arrange = Callable[[Any], Awaitable[Callable[[], Awaitable[None]]]]


@attrs.frozen
class Cause:
    """How events and metrics name it: the status that upstream answered, or the kind of failure.

    ``words`` are part of the reason that a log line gives.
    """

    status: int | None = None
    kinds: tuple[str, ...] = ()
    words: str = ""


@attrs.frozen(kw_only=True)
class Fault:
    """``change`` is made to the answers of a leg; ``arrange`` does something to its site instead.

    ``expect`` and ``cause`` are by leg; a text instead of an Expect is why the cell makes no
    sense. ``slow``: it is found out by a timeout, so these are short. ``https``: the upstream
    is to be spoken to in TLS; ``prepare`` is called before the node starts. ``lie`` is the same
    fault of a peer, and ``peer`` why there is none. ``peer_kinds`` are the outcomes by which it
    may be told; none: a peer that does so is no fault. ``peer_expect`` is what comes of it.
    """

    name: str
    change: tuple[Change, ...] = ()
    arrange: Arrange | None = None
    expect: Mapping[Leg, Expect | str]
    cause: Mapping[Leg, Cause]
    slow: bool = False
    https: bool = False
    named_hosts: bool = False
    prepare: Callable[[Any], None] = lambda _: None
    lie: Lie | None = None
    peer: str = ""
    peer_expect: Expect = Expect.FINE
    peer_blob_only: bool = False
    peer_kinds: tuple[str, ...] = ()
