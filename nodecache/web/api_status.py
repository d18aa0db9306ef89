"""``/api/v1/status``, ``history``, ``transfers``, ``errors``, ``feeds``: how the node is, as JSON.

Plugs into ``admin_site(more=...)``. What stands in the documents is told where
they are made (``nodecache.watching.documents``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from klein import Klein

from nodecache.watching import Window
from nodecache.web.request import JSON, GuardedRequest

_ALONE = "Nodes share once they are started with --peers."


class Watched(Protocol):
    """What can be asked of a node. Each call looks anew."""

    def status(self) -> dict[str, Any]: ...

    def history(self, window: Window) -> dict[str, Any]: ...

    def transfers(self) -> dict[str, Any]: ...

    def errors(self) -> dict[str, Any]: ...

    def feeds(self) -> dict[str, Any] | None:
        """Of the whole cluster; None for a node without peers."""
        ...


def status_api(watched: Watched) -> Callable[[Klein], None]:
    """For ``admin_site(more=...)``: adds the five."""

    def history(request: GuardedRequest) -> bytes:
        try:
            window = asked_window(request)
        except ValueError as wrong:
            return _answer(request, 400, {"problem": str(wrong), "next": "Ask for 15m, 1h or 24h."})
        return _answer(request, 200, watched.history(window))

    def add(app: Klein) -> None:
        for name, made in (
            ("status", watched.status),
            ("transfers", watched.transfers),
            ("errors", watched.errors),
            ("feeds", watched.feeds),
        ):
            app.route(f"/api/v1/{name}", methods=["GET"], endpoint=name)(_document(made))
        app.route("/api/v1/history", methods=["GET"], endpoint="history")(history)

    return add


def asked_window(request: GuardedRequest) -> Window:
    """The ``window`` of the query; an hour where it names none. Raises ValueError."""
    args = request.args or {}
    given = args.get(b"window", [b"1h"])[-1].decode("latin-1")
    try:
        return Window(given)
    except ValueError:
        raise ValueError(f"there is no window {given[:20]!r}") from None


def _document(made: Callable[[], dict[str, Any] | None]) -> Callable[[GuardedRequest], bytes]:
    def answer(request: GuardedRequest) -> bytes:
        if (document := made()) is None:
            return _answer(request, 404, {"problem": "this node has no peers", "next": _ALONE})
        return _answer(request, 200, document)

    return answer


def _answer(request: GuardedRequest, status: int, document: dict[str, Any]) -> bytes:
    return request.reply(status, json.dumps(document).encode("ascii") + b"\n", JSON)
