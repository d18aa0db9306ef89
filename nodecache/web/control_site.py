"""The control socket: orders to the node, over HTTP, by whoever may open it (mode 0600).

``POST /control/v1/<verb>`` with a JSON object. The answer is one JSON object a
line, as things happen; the last one is ``{"event": "done", ...}`` or
``{"event": "failed", "problem": "...", "next": "..."}``. While nothing else is
told, ``{"event": "alive"}`` is, so that a node that stands still is told from
one that works. Whoever hangs up gives the order up.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as Reason
from twisted.web.resource import Resource

from nodecache.body import Tools
from nodecache.events import OrderFinished, Unexpected
from nodecache.failures import Failure, RequestProblem
from nodecache.limits import ORDER_BYTES, Limits, Timeouts
from nodecache.seams import WallClock
from nodecache.steering import Refused, Verb
from nodecache.web.channel import GuardedChannel
from nodecache.web.request import GuardedRequest
from nodecache.web.site import GuardedSite

NDJSON: Final = "application/x-ndjson; charset=utf-8"
PREFIX: Final = b"/control/v1/"

#: Characters of an order that the log has.
GIVEN: Final = 400
#: Open connections to the socket: whoever may open it is the node's administrator.
CONNECTIONS: Final = 256
#: Seconds without a word after which the node says that it is alive.
ALIVE: Final = 5.0


class ControlChannel(GuardedChannel):
    def readConnectionLost(self) -> None:
        """Whoever gave the order is gone: nobody shuts one side only."""
        self.abort()

    def refuse_body(self) -> None:
        self.refuse(RequestProblem.BODY, f"an order has at most {ORDER_BYTES} bytes")


class ControlRequest(GuardedRequest):
    """One order."""

    site: ControlSite
    _work: Deferred[dict[str, Any]] | None = None
    _outcome = ("given_up", "whoever gave it hung up")
    _given = ""
    _alive: IDelayedCall | None = None

    # Reading it.

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        if length is not None and length > ORDER_BYTES and self.channel is not None:
            self.channel.refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        channel = self.channel
        if channel is None or channel.refused:
            return
        self._body_bytes += len(data)
        if self._body_bytes > ORDER_BYTES:
            channel.refuse_body()
            return
        assert self.content is not None
        self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # Twisted's own would take the query and the body apart.
        self.method, self.uri, self.clientproto = command, path, version
        self.path, self.args = path.partition(b"?")[0], {}
        self.process()

    # Carrying it out.

    def respond(self) -> None:
        if self.method != b"POST":
            self.setHeader("Allow", "POST")
            self._refuse(405, Refused("orders are given with POST"))
            return
        verb = self.site.verb(self.path)
        if verb is None:
            names = ", ".join(sorted(self.site.verbs))
            self._refuse(404, Refused("this node knows no such order", f"It knows {names}."))
            return
        try:
            document = _parsed(self.content)
        except Refused as refused:
            self._refuse(400, refused)
            return
        self.setResponseCode(200)
        self.setHeader("Content-Type", NDJSON)
        self._given = json.dumps(document)[:GIVEN]
        self._say_alive()
        self._work = Deferred.fromCoroutine(_run(verb, document, self.tell))
        self._work.addCallbacks(self._done, self._failed)

    def _refuse(self, status: int, refused: Refused) -> None:
        self.respond_with(self.reply(status, line_of(failure_of(refused)), NDJSON))

    def tell(self, event: dict[str, Any]) -> None:
        """A line. Progress is left out while its reader is slow."""
        channel = self.channel
        if self._work_over or channel is None:
            return
        if channel.congested and event.get("event") in ("progress", "alive"):
            return
        self._wait_to_say_alive()
        self.write(line_of(event))

    @property
    def _work_over(self) -> bool:
        return self.gone or not self._open or self._aborted

    def _say_alive(self) -> None:
        self._alive = None
        self._wait_to_say_alive()
        self.tell({"event": "alive"})

    def _wait_to_say_alive(self) -> None:
        if self._alive is not None:
            self._alive.reset(ALIVE)
        else:
            self._alive = self.site.clock.callLater(ALIVE, self._say_alive)

    def _done(self, result: dict[str, Any]) -> None:
        self._outcome = ("done", "")
        self._say_last({"event": "done", **result})

    def _failed(self, reason: Reason) -> None:
        if reason.check(CancelledError):
            if not self.gone:
                self._outcome = ("given_up", "the node is stopping")
                why = Refused("the node is stopping", "Give the order again once it runs.")
                self._say_last(failure_of(why))
            return
        if not reason.check(Refused, Failure):
            self.site.observe(
                Unexpected(
                    where=f"order {self.path.decode('latin-1')}",
                    error=repr(reason.value),
                    trace=reason.getTraceback(),
                )
            )
        assert reason.value is not None
        self._outcome = ("failed", reason.getErrorMessage())
        self._say_last(failure_of(reason.value))

    def _say_last(self, event: dict[str, Any]) -> None:
        if not self._work_over:
            self.tell(event)
            self.finish()

    def give_up(self) -> None:
        """The node stops."""
        if self._work is not None:
            self._work.cancel()

    def over(self, *, complete: bool) -> None:
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None
        if self._work is None:
            return
        outcome, reason = self._outcome
        self.site.observe(
            OrderFinished(
                verb=self.path.removeprefix(PREFIX).decode("latin-1"),
                given=self._given,
                outcome=outcome,
                reason=reason,
                seconds=self.site.clock.seconds() - self.started_at,
            )
        )
        if not complete:
            self._work.cancel()


async def _run(verb: Verb, document: dict[str, Any], tell: Any) -> dict[str, Any]:
    return await verb.run(document, tell)


def _parsed(content: Any) -> dict[str, Any]:
    """Raises Refused."""
    body = content.getvalue() or b"{}"
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("the order is no JSON") from None
    if not isinstance(document, dict):
        raise Refused("the order is no JSON object")
    return document


def failure_of(error: BaseException) -> dict[str, Any]:
    """The last line of an order that failed."""
    if isinstance(error, Refused):
        return {"event": "failed", "problem": error.problem, "next": error.next_step}
    problem = str(error) if isinstance(error, Failure) else "an unexpected error: see the log"
    return {"event": "failed", "problem": problem, "next": ""}


def line_of(event: dict[str, Any]) -> bytes:
    """An event as a line of the answer."""
    return json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"


class ControlSite(GuardedSite):
    """A factory to listen with on a Unix socket. ``stop`` gives up what is under way."""

    protocol = ControlChannel
    name = "control"

    def __init__(
        self,
        verbs: Iterable[Verb],
        tools: Tools,
        wall: WallClock,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        # All of them come from no address.
        own = attrs.evolve(
            limits, client_connections=CONNECTIONS, client_connections_per_address=CONNECTIONS
        )
        super().__init__(Resource(), ControlRequest, tools, wall, timeouts, own)
        self.verbs = {verb.name: verb for verb in verbs}

    def verb(self, path: bytes) -> Verb | None:
        """The verb that ``path`` names."""
        if not path.startswith(PREFIX):
            return None
        return self.verbs.get(path.removeprefix(PREFIX).decode("latin-1"))

    def stop(self) -> None:
        """Whoever waits is told that the node stops; then nobody is connected any more."""
        for request in list(self.active):
            if isinstance(request, ControlRequest):
                request.give_up()
        for channel in list(self.channels):
            channel.close_when_idle()
        for turned in list(self.turned_away):
            turned.abort()
