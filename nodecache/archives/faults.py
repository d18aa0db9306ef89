"""The one failure of this room."""

from __future__ import annotations

from nodecache.failures import Failure


class BadArchive(Failure):
    """The archive is not what it says, or not what can be read; the message is one line."""
