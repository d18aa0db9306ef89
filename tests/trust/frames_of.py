"""An honest sender's frames, as one piece."""

from __future__ import annotations

from nodecache.peerwire.frames import Encoder


def frames_of(encoder: Encoder, data: bytes) -> bytes:
    """Of a span that is no longer than one block."""
    return b"".join([*encoder.data(data), *encoder.end()])
