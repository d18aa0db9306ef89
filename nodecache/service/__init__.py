"""The node as a process: built from its settings, run until a signal ends it."""

from nodecache.service.node import Node
from nodecache.service.run import run
from nodecache.service.surroundings import Surroundings

__all__ = ["Node", "Surroundings", "run"]
