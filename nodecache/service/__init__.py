"""The node as a process: built from its settings, run until a signal ends it."""

from nodecache.service.node import Node
from nodecache.service.run import run

__all__ = ["Node", "run"]
