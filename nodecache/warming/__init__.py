"""Warming: images fetched before anybody asks for them, by way of the cache like any pull."""

from nodecache.warming.plan import (
    NothingFits,
    Plan,
    TooBig,
    bytes_of,
    check_platform,
    matches,
    pick,
    refuse_too_big,
)
from nodecache.warming.warming import Asked, Ports, Progress, Warming
from nodecache.warming.wishes import Wishes

__all__ = [
    "Asked",
    "NothingFits",
    "Plan",
    "Ports",
    "Progress",
    "TooBig",
    "Warming",
    "Wishes",
    "bytes_of",
    "check_platform",
    "matches",
    "pick",
    "refuse_too_big",
]
