"""Sized eviction, least recently used first."""

from nodecache.eviction.columns import Columns
from nodecache.eviction.ledger import PARTIAL_SHARE, Ledger, Plan
from nodecache.eviction.shelf import BLOCK, whole_blocks

__all__ = ["BLOCK", "PARTIAL_SHARE", "Columns", "Ledger", "Plan", "whole_blocks"]
