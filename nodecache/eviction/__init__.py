"""Sized eviction, least recently used first."""

from nodecache.eviction.ledger import PARTIAL_SHARE, Ledger, Plan
from nodecache.eviction.shelf import BLOCK, whole_blocks

__all__ = ["BLOCK", "PARTIAL_SHARE", "Ledger", "Plan", "whole_blocks"]
