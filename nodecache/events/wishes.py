"""What other nodes wish this one to fetch."""

from __future__ import annotations

from typing import ClassVar

import attrs

from nodecache.events.base import Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WishFinished(Event):
    """A peer wished that this node fetches an image, and that is over: done, failed or refused.

    ``bytes`` are those of the image, as far as known.
    """

    name: ClassVar[str] = "wish"
    peer: str
    image: str
    outcome: str
    bytes: int
    seconds: float
    reason: str = ""
