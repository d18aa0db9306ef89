"""A failure of this node as what a peer is told of it. Pure."""

from __future__ import annotations

from nodecache.failures import (
    Failure,
    OfflineMiss,
    PeerFailure,
    UpstreamFailure,
    UpstreamKind,
    root_of,
)
from nodecache.peerwire.answers import Absent, Denied, Refusal, UpstreamAbsent, UpstreamBroken
from nodecache.sharing.manifest_answers import ToldByPeer


def refusal_of(failure: Failure) -> Refusal:
    """Only what this node's own upstream said is told as upstream's word."""
    failure = root_of(failure)
    if isinstance(failure, OfflineMiss):
        return Denied("offline")
    if isinstance(failure, ToldByPeer):
        return Absent()
    if isinstance(failure, PeerFailure):
        return UpstreamBroken(UpstreamKind.ERROR, str(failure))
    if not isinstance(failure, UpstreamFailure):
        # The disk, for one; or no room.
        return Denied(str(failure))
    if failure.is_absence:
        return UpstreamAbsent(failure.kind, failure.message, failure.status)
    return UpstreamBroken(failure.kind, failure.message, failure.status, failure.retry_after)
