"""What a node remembers of itself, from events, for the status page and the read API.

Everything is bounded, lives in memory, and begins anew with the process. The
time is a parameter throughout. ``Watch`` remembers, ``facts`` are what is
looked at when somebody asks, ``documents`` puts the two together.
"""

from nodecache.watching.facts import CacheNow, Now, PeersNow, Transfer
from nodecache.watching.history import Flow, Series, Window
from nodecache.watching.reports import Reports, report
from nodecache.watching.speed import Speeds
from nodecache.watching.upstreams import Place
from nodecache.watching.watch import Watch

__all__ = [
    "CacheNow",
    "Flow",
    "Now",
    "PeersNow",
    "Place",
    "Reports",
    "Series",
    "Speeds",
    "Transfer",
    "Watch",
    "Window",
    "report",
]
