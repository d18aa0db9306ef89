"""``python -m nodecache`` and the ``nodecache`` command."""

from nodecache.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
