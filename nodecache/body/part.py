"""What of a blob is sent."""

from __future__ import annotations

import attrs


@attrs.frozen
class Part:
    """Which bytes of a blob to send, and what the headers promise of it.

    ``stop`` and ``total`` are None while the total is unknown: then the body
    goes on to the end, and the protocol frames it (chunked). ``held_back``:
    the last bytes wait for the digest. ``may_be_empty``: the digest is that of
    no bytes, so that an end at 0 is a right one.
    """

    start: int
    stop: int | None
    total: int | None
    held_back: bool
    may_be_empty: bool = False
