"""What a person may do to a running node: look through it, remove, keep, ask anew, check."""

from nodecache.steering.verbs import Document, Refused, Tell, Verb

__all__ = ["Document", "Refused", "Tell", "Verb"]
