"""Docker Hub and other registries, asked as a well-behaved client would.

The way of a request, from the outside in: ``registry`` and ``blobs`` know the
calls; ``turns`` tries the origins of an upstream in order; ``origin`` logs in
(``tokens``, ``realms``, ``account``) and follows redirects (``redirects``);
``courier`` sends one request of that and keeps the books on health;
``wire`` does HTTP over the connections that ``dial`` makes (``guard``,
``proxy``, ``tunnel``, ``trust``); ``body`` brings in what comes back.
"""

from nodecache.upstream.fetched import FetchedListing, FetchedManifest, ManifestHead
from nodecache.upstream.registry import Upstream
from nodecache.upstream.upstreams import Upstreams

__all__ = ["FetchedListing", "FetchedManifest", "ManifestHead", "Upstream", "Upstreams"]
