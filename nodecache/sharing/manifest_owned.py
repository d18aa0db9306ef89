"""The upstreams as whoever acts as owner asks them: those who rank beside it come first.

They are asked only for what they have, so nobody forwards. An owner that is new
in its place finds what the one before it has fetched, and upstream counts no
second GET for it.
"""

from __future__ import annotations

from nodecache.failures import UpstreamFailure
from nodecache.reference import Digest, Reference, Repository
from nodecache.seams import BlobSource
from nodecache.sharing.manifest_direct import Direct, DirectUpstreams
from nodecache.sharing.manifest_ports import FetchedListing, FetchedManifest, FoundManifest
from nodecache.sharing.manifest_search import PeerManifests, Wanted


class OwnedUpstreams:
    """``direct`` are asked when none of ``peers`` has it."""

    def __init__(self, direct: DirectUpstreams, peers: PeerManifests) -> None:
        self._direct = direct
        self._peers = peers

    def get(self, namespace: str) -> OwnedUpstream:
        """Raises UnknownNamespace."""
        return OwnedUpstream(namespace, self._direct.get(namespace), self._peers)


class OwnedUpstream:
    """One upstream. Every question raises UpstreamFailure, and nothing else."""

    def __init__(self, namespace: str, direct: Direct, peers: PeerManifests) -> None:
        self._namespace = namespace
        self._direct = direct
        self._peers = peers

    async def get_manifest(self, name: str, reference: Reference) -> FetchedManifest:
        """Of a tag from upstream, whose word it is; of a digest from whoever has it."""
        if isinstance(reference, Digest):
            wanted = Wanted(Repository(self._namespace, name), reference, head=False)
            found = await self._peers.find(wanted, as_owner=True)
            if found is not None:
                return found
        return await self._direct.get_manifest(name, reference)

    # All else is upstream's.

    def down(self) -> UpstreamFailure | None:
        return self._direct.down()

    async def head_manifest(self, name: str, reference: Reference) -> FoundManifest:
        return await self._direct.head_manifest(name, reference)

    async def head_blob(self, name: str, digest: Digest) -> int:
        return await self._direct.head_blob(name, digest)

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        return self._direct.blob_source(name, digest)

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedListing:
        return await self._direct.tags(name, n, last)

    async def referrers(
        self, name: str, digest: Digest, artifact_type: str | None
    ) -> FetchedListing:
        return await self._direct.referrers(name, digest, artifact_type)
