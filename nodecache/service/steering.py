"""How the node is steered: the table of orders, and the socket over which they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from klein import Klein

from nodecache.body import Tools
from nodecache.cache import Cache
from nodecache.config import Settings
from nodecache.events import SettingWarning
from nodecache.fill import Fills
from nodecache.seams import DiskPool
from nodecache.service.cluster_view import ClusterView
from nodecache.service.control_socket import ControlSocket, open_control_socket
from nodecache.service.images import Images
from nodecache.service.log_orders import log_orders
from nodecache.service.moving import Moved, Moving
from nodecache.service.neighbours import Neighbours
from nodecache.service.surroundings import Surroundings
from nodecache.steering import Verb
from nodecache.store import Store
from nodecache.web.api_config import config_api
from nodecache.web.api_images import images_api
from nodecache.web.control_site import ControlSite


@attrs.frozen
class Means:
    """What orders work with. ``settings`` are those that hold now."""

    around: Surroundings
    settings: Callable[[], Settings]
    store: Store
    fills: Fills
    cache: Cache
    neighbours: Neighbours | None
    pool: DiskPool


def _moved(means: Means) -> Moved:
    return Moved(
        around=means.around,
        settings=means.settings,
        pool=means.pool,
        store=means.store,
        fills=means.fills,
        cache=means.cache,
        neighbours=means.neighbours,
    )


class Steering:
    """``listen`` once the data folder is this node's; ``stop`` is owed."""

    def __init__(self, means: Means) -> None:
        self._means = means
        around, settings = means.around, means.settings()
        self.moving = Moving(_moved(means))
        here = (means.around, means.settings, means.store, means.fills, means.cache)
        self.images = Images(*here, means.neighbours)
        #: The table: a line for each room that brings orders.
        verbs: tuple[Verb, ...] = (
            *self.images.orders,
            *self.moving.verbs(),
            *log_orders(around.log),
        )
        tools = Tools(
            clock=around.reactor, observe=around.observe, stall=settings.timeouts.client_stall
        )
        self.site = ControlSite(verbs, tools, around.wall, settings.timeouts, settings.limits)
        self._socket: ControlSocket | None = None

    def admin_part(self, status: Callable[[], dict[str, Any]]) -> Callable[[Klein], None]:
        """What the admin port shows; ``status`` is what peers are told of this node."""
        means = self._means
        timeouts, reactor = means.settings().timeouts, means.around.reactor
        cluster = ClusterView(means.neighbours, status, timeouts, reactor)
        images = images_api(self.images.looking, cluster.document)
        config = config_api(means.settings)

        def add(app: Klein) -> None:
            images(app)
            config(app)

        return add

    def listen(self) -> None:
        """A folder that takes no socket is told of, and no reason not to serve."""
        around: Any = self._means.around
        try:
            self._socket = open_control_socket(
                around.reactor, self._means.settings().data_dir, self.site
            )
        except OSError as error:
            reason = error.strerror or str(error)
            message = f"data_dir: no control socket there, so no orders to this node: {reason}"
            around.observe(SettingWarning(message=message))

    async def stop(self) -> None:
        """Take no more orders, and give up those under way; idempotent."""
        opened, self._socket = self._socket, None
        if opened is not None:
            await opened.close()
        self.site.stop()
        await self.moving.stop()
