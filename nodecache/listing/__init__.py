"""Processes that list the blobs of a big store, while this one loads its modules or adds up.

Listing a million files holds the interpreter's lock for seconds: threads gain
nothing there. What lists is a program of its own that loads next to nothing,
and this room loads no more than the start of the command line has loaded, so
that it can begin before all else.
"""

from nodecache.listing.crew import Crew, Listed, begin, blobs_in

__all__ = ["Crew", "Listed", "begin", "blobs_in"]
