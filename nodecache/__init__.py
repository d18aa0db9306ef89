"""nodecache: a registry mirror on every node, from disk or from Docker Hub."""

__version__ = "0.1.0"
__all__ = ["__version__"]
