"""``/api/v1/images``, ``/api/v1/image`` and ``/api/v1/cluster``: what is here, and what is there.

Plugs into ``admin_site(more=...)``. The documents only grow, as all of ``/api/v1/``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as Reason

from nodecache.failures import Failure
from nodecache.steering import Refused
from nodecache.web.request import JSON, GuardedRequest


class Looks(Protocol):
    """Both raise Refused."""

    async def images(self, pattern: str | None) -> dict[str, Any]: ...

    async def image(self, text: str) -> dict[str, Any]: ...


Cluster = Callable[[], Awaitable[dict[str, Any]]]


def images_api(looks: Looks, cluster: Cluster) -> Callable[[Klein], None]:
    """For ``admin_site(more=...)``: ``images?match=GLOB``, ``image?ref=NAME`` and ``cluster``."""

    def images(request: GuardedRequest) -> Deferred[bytes]:
        return _answered(request, looks.images(_query(request, b"match")))

    def image(request: GuardedRequest) -> Deferred[bytes]:
        return _answered(request, looks.image(_query(request, b"ref") or ""))

    def others(request: GuardedRequest) -> Deferred[bytes]:
        return _answered(request, cluster())

    def add(app: Klein) -> None:
        for path, answer in (("images", images), ("image", image), ("cluster", others)):
            app.route(f"/api/v1/{path}", methods=["GET"], endpoint=path)(answer)

    return add


def _query(request: GuardedRequest, name: bytes) -> str | None:
    found = (request.args or {}).get(name)
    return found[0].decode("utf-8", "replace") if found else None


def _answered(request: GuardedRequest, work: Awaitable[dict[str, Any]]) -> Deferred[bytes]:
    async def document() -> dict[str, Any]:
        return await work

    def whole(found: dict[str, Any]) -> bytes:
        return request.reply(200, _dump(found), JSON)

    def refused(reason: Reason) -> bytes:
        reason.trap(Refused, Failure)
        error = reason.value
        next_step = error.next_step if isinstance(error, Refused) else ""
        status = 404 if isinstance(error, Refused) else 503
        told = {"problem": str(error), "next": next_step}
        return request.reply(status, _dump(told), JSON)

    return Deferred.fromCoroutine(document()).addCallbacks(whole, refused)


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode("ascii") + b"\n"
