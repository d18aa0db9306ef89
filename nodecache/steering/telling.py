"""What is told of images that are fetched by order, and what a person may do about a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from nodecache.failures import (
    BadRequest,
    NameDenied,
    NoRoom,
    OfflineMiss,
    UnknownNamespace,
    UpstreamFailure,
    UpstreamKind,
)
from nodecache.peerwire.wishes import Fulfilment, Stage
from nodecache.reference import Digest
from nodecache.steering.verbs import NAMES, Tell
from nodecache.warming import NothingFits, Plan, bytes_of

#: Seconds between two lines about one blob.
_TELL: Final = 0.2


class Telling:
    """What is told of one order."""

    def __init__(self, clock: IReactorTime, tell: Tell) -> None:
        self._tell = tell
        self._clock = clock
        self.nodes: int | None = None
        self._failed = self._fetched = self._nodes_failed = 0

    def planned(self, name: str, plan: Plan, missing: dict[Digest, int]) -> None:
        blobs = [
            {"digest": str(digest), "bytes": size, "here": digest not in missing}
            for digest, size in plan.blobs.items()
        ]
        self._image(name, "planned", digest=str(plan.top.digest), bytes=plan.bytes, blobs=blobs)

    def done(self, name: str, plan: Plan, fetched: int) -> None:
        self._fetched += fetched
        digest = str(plan.top.digest)
        self._image(name, "done", digest=digest, bytes=plan.bytes, fetched_bytes=fetched)

    def failed(self, name: str, failure: Exception) -> None:
        self._failed += 1
        self._image(name, "failed", problem=str(failure), next=next_step(failure))

    def _image(self, name: str, state: str, **more: Any) -> None:
        self._tell({"event": "image", "image": name, "state": state, **more})

    def progress(self, name: str) -> Callable[[Digest, int, int], None]:
        """Tells of each blob now and then, and when it is there."""
        told: dict[Digest, float] = {}

        def progress(digest: Digest, present: int, total: int) -> None:
            now = self._clock.seconds()
            if present < total and now - told.get(digest, -_TELL) < _TELL:
                return
            told[digest] = now
            self._tell(
                {
                    "event": "progress",
                    "image": name,
                    "digest": str(digest),
                    "bytes": present,
                    "total": total,
                }
            )

        return progress

    def of_node(self, node: str, name: str, fulfilment: Fulfilment) -> None:
        failed = fulfilment.over and fulfilment.stage is not Stage.DONE
        self._nodes_failed += failed
        self._tell(
            {
                "event": "node",
                "node": node,
                "image": name,
                "state": fulfilment.stage.value,
                "bytes": fulfilment.bytes,
                "total": fulfilment.total,
                "problem": fulfilment.words,
            }
        )

    def summary(self, plans: Sequence[Plan]) -> dict[str, Any]:
        return {
            "images": len(plans),
            "bytes": bytes_of(plans),
            "fetched_bytes": self._fetched,
            "failed": self._failed,
            "nodes": self.nodes,
            "nodes_failed": self._nodes_failed,
        }


def next_step(failure: Exception) -> str:
    """What a person may do about an image that can not be had."""
    if isinstance(failure, UnknownNamespace):
        return "Add the registry with --upstream NS=URL and start the node again."
    if isinstance(failure, OfflineMiss):
        return "Bring it with 'nodecache import', or start the node without --offline."
    if isinstance(failure, BadRequest):
        return NAMES
    if isinstance(failure, NameDenied):
        return "The rules are 'allow' and 'deny' of its upstream: see 'nodecache config --running'."
    if isinstance(failure, NothingFits):
        return "Choose one that it has with --platform, or take --all-platforms."
    if isinstance(failure, NoRoom):
        return "Unpin or purge images, or raise max_size."
    if not isinstance(failure, UpstreamFailure):
        return ""
    if failure.is_absence:
        return "Is the name right? What needs a login is not fetched unless an account allows it."
    if failure.kind is UpstreamKind.LIMITED:
        return "The registry's rate limit is used up: wait, or see 'nodecache status'."
    return "Try again: what was fetched is kept."
