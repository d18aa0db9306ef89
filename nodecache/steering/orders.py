"""The orders about what is here, as one table."""

from __future__ import annotations

from nodecache.cache.keeping import Keeping
from nodecache.fill import Fills
from nodecache.steering.inventory import Inventory
from nodecache.steering.pins import Pins
from nodecache.steering.purging import Purging
from nodecache.steering.refreshing import Refreshing
from nodecache.steering.verbs import Verb
from nodecache.steering.verifying import Verifying
from nodecache.store import Store


def orders(store: Store, fills: Fills, keeping: Keeping, inventory: Inventory) -> tuple[Verb, ...]:
    """``purge``, ``refresh``, ``pin``, ``unpin`` and ``verify``."""
    return (
        Purging(store, fills, keeping, inventory).verb,
        Refreshing(keeping, inventory).verb,
        *Pins(store, keeping, inventory).verbs,
        Verifying(store.census, inventory).verb,
    )
