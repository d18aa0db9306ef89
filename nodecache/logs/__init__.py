"""Events as log lines: JSON for machines, plain words for a terminal."""

from nodecache.logs.console import Console
from nodecache.logs.sampling import Sampler
from nodecache.logs.scrub import scrub
from nodecache.logs.switch import LogSwitch, level_of
from nodecache.logs.unexpected import UnexpectedObserver
from nodecache.logs.writer import LogWriter

__all__ = [
    "Console",
    "LogSwitch",
    "LogWriter",
    "Sampler",
    "UnexpectedObserver",
    "level_of",
    "scrub",
]
