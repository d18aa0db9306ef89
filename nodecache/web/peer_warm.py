"""``POST /peer/v1/warm``: a peer wishes that this node fetches an image, or asks how far it is.

It is answered at once, whatever there is to fetch: who wishes asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from nodecache.peerwire.codec import Encoded, encode_document
from nodecache.peerwire.wishes import Fulfilment, Wish, decode_wish, encode_fulfilment

#: The wish of a peer that this node fetches an image; the peer's id comes last. Must not raise.
Warm: TypeAlias = Callable[[Wish, str], Fulfilment]


def answer_wish(warm: Warm, body: bytes, asker: str) -> Encoded:
    """Raises WireFault."""
    return encode_document("warm", encode_fulfilment(warm(decode_wish(body), asker)))
