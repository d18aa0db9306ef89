"""The cache: what the mirror's clients ask for, from disk, in flight or upstream."""

from nodecache.cache.cache import Cache
from nodecache.cache.policy import Platform, Policy

__all__ = ["Cache", "Platform", "Policy"]
