"""The data folder of a node: blobs, manifests, tags, and what is on its way in."""

from nodecache.store.blobs import StoredBlob
from nodecache.store.census import Census, TagSeen
from nodecache.store.disk import Disk
from nodecache.store.journal import Known
from nodecache.store.manifests import StoredManifest
from nodecache.store.partial import Partial
from nodecache.store.room import Reservation
from nodecache.store.store import Store, Usage
from nodecache.store.tags import StoredListing

__all__ = [
    "Census",
    "Disk",
    "Known",
    "Partial",
    "Reservation",
    "Store",
    "StoredBlob",
    "StoredListing",
    "StoredManifest",
    "TagSeen",
    "Usage",
]
