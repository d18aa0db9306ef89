"""How nodes introduce themselves, and each other: the membership's own values."""

from nodecache.membership.hello import Hello, Known

__all__ = ["Hello", "Known"]
