"""The bodies that are on their way to clients of the mirror port."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from nodecache.web.mirror_request import MirrorRequest
from nodecache.web.mirror_site import MirrorSite


@attrs.frozen
class Body:
    """``source`` is a Source value; ``sent`` are bytes since ``since`` (monotonic)."""

    source: str
    sent: int
    since: float


def under_way(site: MirrorSite) -> Iterator[Body]:
    """Those of which a client has been given something."""
    for request in list(site.active):
        if isinstance(request, MirrorRequest) and request.first_byte_at is not None:
            yield Body(request.exchange.source, request.sentLength, request.first_byte_at)
