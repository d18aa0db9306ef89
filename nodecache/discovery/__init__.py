"""Finds the other nodes, by DNS or from a list, and keeps greeting them."""

from nodecache.discovery.discovery import Discovery, by_resolv_conf
from nodecache.discovery.lookup import Found, NotResolved, Resolver

__all__ = ["Discovery", "Found", "NotResolved", "Resolver", "by_resolv_conf"]
