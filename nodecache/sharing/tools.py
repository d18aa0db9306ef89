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


def _never() -> bool:
    return False


@attrs.frozen
class Tools:
    """One of each for the node.

    ``offline``: whether upstream may not be asked, by anybody. ``size_of``:
    bytes of a blob, as a manifest names them; None where none does.
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
