"""What every shared blob is made with."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.places import UpstreamPlaces
from nodecache.sharing.ports import Cluster
from nodecache.sharing.suspicions import Suspicions


def _unknown(_: Digest) -> int | None:
    return None


def _a_minute() -> float:
    return 60.0


def _never() -> bool:
    return False


@attrs.frozen
class Tools:
    """One of each for the node.

    ``offline``: whether upstream may not be asked, by anybody. ``size_of``:
    bytes of a blob, as a manifest names them; None where none does. ``tag_ttl``:
    seconds for which upstream's word on a tag holds.
    """

    cluster: Cluster
    duties: Duties
    asking: Asking
    places: UpstreamPlaces
    suspicions: Suspicions
    clock: IReactorTime
    limits: Limits
    timeouts: Timeouts
    offline: Callable[[], bool] = _never
    size_of: Callable[[Digest], int | None] = _unknown
    tag_ttl: Callable[[], float] = _a_minute
