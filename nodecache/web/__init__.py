"""The ports: the mirror that runtimes pull from, the peers' port, and the admin port."""

from nodecache.web.admin import AdminSite, admin_site
from nodecache.web.api import BytesByRole, PeerRow, PeersSeenHere, PeerState, peers_api
from nodecache.web.api_status import status_api
from nodecache.web.mirror_site import MirrorSite
from nodecache.web.page.site import status_page
from nodecache.web.peer_site import PeerSite
from nodecache.web.site import LISTEN_BACKLOG

__all__ = [
    "LISTEN_BACKLOG",
    "AdminSite",
    "BytesByRole",
    "MirrorSite",
    "PeerRow",
    "PeerSite",
    "PeerState",
    "PeersSeenHere",
    "admin_site",
    "peers_api",
    "status_api",
    "status_page",
]
