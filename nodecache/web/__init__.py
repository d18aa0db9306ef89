"""The ports: the mirror that runtimes pull from, and the admin port."""

from nodecache.web.admin import AdminSite, admin_site
from nodecache.web.mirror_site import MirrorSite
from nodecache.web.site import LISTEN_BACKLOG

__all__ = ["LISTEN_BACKLOG", "AdminSite", "MirrorSite", "admin_site"]
