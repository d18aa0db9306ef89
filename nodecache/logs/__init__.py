"""Events as log lines: JSON for machines, plain words for a terminal."""

from nodecache.logs.console import Console
from nodecache.logs.scrub import scrub
from nodecache.logs.unexpected import UnexpectedObserver
from nodecache.logs.writer import LogWriter

__all__ = ["Console", "LogWriter", "UnexpectedObserver", "scrub"]
