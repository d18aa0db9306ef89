"""Manifests that are answered without waiting for anything: in memory, and fresh where it is a tag.

The short way says what the long one (``Cache.manifest``) would, or nothing:
whatever is in doubt (a tag that upstream was not asked about lately, a file
that was not read lately, an upstream that fails) is left to that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from nodecache.cache.entries import Entries
from nodecache.cache.gate import Gate
from nodecache.cache.manifests import Manifests
from nodecache.events import TagResolved
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.results import ManifestResult
from nodecache.seams import Observe

IsFresh = Callable[[Repository, TagEntry], bool]

_digest = lru_cache(maxsize=1024)(Digest.parse)


class Ready:
    """``is_fresh`` judges the entry of a tag."""

    def __init__(
        self,
        entries: Entries,
        manifests: Manifests,
        gate: Gate,
        is_fresh: IsFresh,
        observe: Observe,
    ) -> None:
        self._entries = entries
        self._manifests = manifests
        self._gate = gate
        self._is_fresh = is_fresh
        self._observe = observe

    def manifest(self, repository: Repository, reference: Reference) -> ManifestResult | None:
        """Nothing is told of it, nor counted: see ``gave``."""
        if self._gate.is_failing(repository):
            return None  # whether it can be pulled whole has to be looked at
        if isinstance(reference, Digest):
            return self._manifests.ready(reference)
        entry = self._entries.known((repository, reference))
        if entry is None or not self._is_fresh(repository, entry):
            return None
        return self._manifests.ready(_digest(entry.digest))

    def gave(self, repository: Repository, reference: Reference, result: ManifestResult) -> None:
        """``result`` of ``manifest`` was given to a client."""
        self._manifests.used(result.digest)
        if isinstance(reference, Tag):
            self._observe(
                TagResolved(
                    namespace=repository.namespace,
                    repository=repository.name,
                    tag=reference.value,
                    digest=str(result.digest),
                    outcome="hit",
                )
            )
