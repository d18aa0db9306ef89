"""The upstreams as the cache sees them, with the other nodes in front and behind.

A question goes to the peers that rank for it, then to the upstream itself;
and when that fails, to all the others, who are asked only for what they have.
A node that ranks first asks upstream, and what its peers ask of it meanwhile
waits for the same answer (``manifest_direct``): so one HEAD in a tag's period
and one GET of a digest are all that a cluster costs its upstream.

Nothing here keeps anything: that is the cache's business.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import deferLater

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.seams import BlobSource
from nodecache.sharing.blob import SharedBlob
from nodecache.sharing.manifest_answers import PeerManifest
from nodecache.sharing.manifest_direct import Direct, DirectUpstreams
from nodecache.sharing.manifest_owned import OwnedUpstreams
from nodecache.sharing.manifest_ports import (
    FetchedListing,
    FetchedManifest,
    FoundManifest,
    Upstreams,
)
from nodecache.sharing.manifest_rest import Rest
from nodecache.sharing.manifest_search import PeerManifests, Wanted
from nodecache.sharing.race import Race
from nodecache.sharing.tools import Tools
from nodecache.sourcing.candidates import RANKED


class SharedUpstreams:
    """``put_aside`` is told the node id of a peer that sent other bytes than those of a digest.

    ``joined`` is called for each question upstream that met one under way. ``stop`` is owed.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        tools: Tools,
        *,
        put_aside: Callable[[str], None],
        joined: Callable[[], None] = lambda: None,
    ) -> None:
        #: The upstreams without peers, one question at a time.
        self.direct = DirectUpstreams(upstreams, tools.clock, joined)
        peers = PeerManifests(tools, put_aside)
        #: The upstreams for what peers ask this node to fetch.
        self.owned = OwnedUpstreams(self.direct, peers)
        #: What the other nodes have, while upstream fails.
        self.rest = Rest(tools, peers)
        self._tools = tools
        self._peers = peers
        self._all: dict[str, SharedUpstream] = {}

    def get(self, namespace: str) -> SharedUpstream:
        """Raises UnknownNamespace."""
        known = self._all.get(namespace)
        if known is None:
            direct = self.direct.get(namespace)
            known = SharedUpstream(namespace, direct, self._tools, self._peers, self.rest)
            self._all[namespace] = known
        return known

    def stop(self) -> None:
        self.direct.stop()
        self.rest.stop()


class SharedUpstream:
    """One upstream. Every question raises UpstreamFailure, and nothing else."""

    def __init__(
        self, namespace: str, direct: Direct, tools: Tools, peers: PeerManifests, rest: Rest
    ) -> None:
        self._namespace = namespace
        self._direct = direct
        self._tools = tools
        self._peers = peers
        self._rest = rest

    def down(self) -> UpstreamFailure | None:
        """Why the upstream itself can not be asked; peers may be, all the same."""
        if self._tools.offline():
            return self._direct.down() or UpstreamFailure(UpstreamKind.DOWN, "this node is offline")
        return self._direct.down()

    async def head_manifest(self, name: str, reference: Reference) -> FoundManifest:
        """Of a tag: upstream's word, which has an ``age`` where a peer was told it."""
        wanted = self._wanted(name, reference, head=True)
        try:
            found = await self._search(wanted)
            if found is not None:
                return found
            self._refuse_if_down()
            return await self._direct.head_manifest(name, reference)
        except UpstreamFailure as failure:
            return await self._recall(wanted, failure)

    async def get_manifest(self, name: str, reference: Reference) -> FetchedManifest:
        """Of a digest: from whoever has it. Of a tag: as ``head_manifest``, with its bytes."""
        wanted = self._wanted(name, reference, head=False)
        try:
            found = await self._search(wanted)
            if found is not None:
                return found
            self._refuse_if_down()
            return await self._fetch(wanted)
        except UpstreamFailure as failure:
            return await self._recall(wanted, failure)

    def _wanted(self, name: str, reference: Reference, *, head: bool) -> Wanted:
        return Wanted(Repository(self._namespace, name), reference, head)

    async def _search(self, wanted: Wanted) -> PeerManifest | None:
        await self._rest.greeted()
        # An offline node makes nobody fetch.
        return None if self._tools.offline() else await self._peers.find(wanted)

    def _refuse_if_down(self) -> None:
        down = self.down()
        if down is not None:
            raise down

    async def _recall(self, wanted: Wanted, failure: UpstreamFailure) -> PeerManifest:
        """What another node has of a digest that upstream does not give; else raises ``failure``.

        What a tag meant once is for the cache to ask, which has to say that it is stale.
        """
        if isinstance(wanted.reference, Tag):
            raise failure
        found = await self._rest.manifest(wanted.repository, wanted.reference, head=wanted.head)
        if found is None:
            raise failure
        return found

    async def _fetch(self, wanted: Wanted) -> FetchedManifest:
        """By GET; while upstream is silent the other nodes are asked as well."""
        repository, reference = wanted.repository, wanted.reference
        if isinstance(reference, Tag):
            return await self._direct.get_manifest(repository.name, reference)

        async def from_others() -> FetchedManifest | None:
            await deferLater(self._tools.clock, self._tools.timeouts.peer_sweep_after, lambda: None)
            return await self._rest.manifest(repository, reference)

        # The question upstream goes on when it has lost: the next one may have its answer.
        race: Race[FetchedManifest] = Race(lambda _late: None)
        race.add(self._direct.get_manifest(repository.name, reference))
        race.add(from_others())
        found = await race.first()
        assert found is not None
        return found

    async def head_blob(self, name: str, digest: Digest) -> int:
        """Its size in bytes, from who ranks for it, upstream, or anybody."""
        repository = Repository(self._namespace, name)
        size = await self._rest.blob_size(repository, digest, verified=False, most=RANKED)
        if size is not None:
            return size
        try:
            self._refuse_if_down()
            return await self._direct.head_blob(name, digest)
        except UpstreamFailure:
            size = await self._rest.blob_size(repository, digest, verified=False)
            if size is None:
                raise
            return size

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        """For one fill of the blob."""
        return SharedBlob(
            self._tools,
            Repository(self._namespace, name),
            digest,
            self._direct.blob_source(name, digest),
            self._direct.down,
        )

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedListing:
        """From upstream alone, as is ``referrers``."""
        self._refuse_if_down()
        return await self._direct.tags(name, n, last)

    async def referrers(
        self, name: str, digest: Digest, artifact_type: str | None
    ) -> FetchedListing:
        self._refuse_if_down()
        return await self._direct.referrers(name, digest, artifact_type)
