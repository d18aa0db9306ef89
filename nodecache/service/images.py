"""What is here, for the command line: the orders about it, and what the admin port shows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodecache.cache import Cache
from nodecache.config import Settings
from nodecache.fill import Fills
from nodecache.service.neighbours import Neighbours
from nodecache.service.surroundings import Surroundings
from nodecache.steering import Verb
from nodecache.steering.inventory import Inventory
from nodecache.steering.looking import Holders, Looking
from nodecache.steering.orders import orders
from nodecache.store import Store


class Images:
    """``looking`` reads, ``orders`` change. ``settings`` gives those that hold now."""

    def __init__(
        self,
        around: Surroundings,
        settings: Callable[[], Settings],
        store: Store,
        fills: Fills,
        cache: Cache,
        neighbours: Neighbours | None,
    ) -> None:
        reactor: Any = around.reactor
        known = tuple(upstream.namespace for upstream in settings().upstreams)
        inventory = Inventory(store.census, fills, reactor, around.wall, known)

        def others() -> Holders | None:
            rest = None if neighbours is None else neighbours.upstreams.rest
            return rest if rest is not None and rest.live() else None

        self.looking = Looking(store.census, fills, inventory, settings, others, reactor)
        self.orders: tuple[Verb, ...] = orders(store, fills, cache.keeping, inventory)
