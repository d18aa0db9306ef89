"""Speaks to a node: blocking, and without a reactor.

``Admin`` reads from the admin port; ``Control`` gives an order over the socket
in the data folder and gets lines of JSON back while it is carried out.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from nodecache.limits import ORDER_BYTES

#: Seconds that a node may take to answer a question, and to say anything at all
#: while it carries out an order (it says something every 5 s).
ANSWER: Final = 15.0
SILENCE: Final = 30.0

#: Bytes of the longest line of an answer.
LINE: Final = 16 * 1024 * 1024

#: The longest path that a Unix socket's address holds.
SOCKET_PATH: Final = 107

_START: Final = "Start it with 'nodecache serve'"
_STANDS: Final = "It may be stopped or overloaded, or its disk may hang: look at its log."
_RELEASE: Final = "Is it of the same release as this command?"
_CROWDED: Final = "Try again in a moment. Its log says who is turned away there."
_GONE: Final = (
    "the node went away before it was done",
    "What it had done until then is kept: see its log, and try again.",
)


class Admin:
    """The admin port at ``url``, like ``http://localhost:5002``."""

    def __init__(self, url: str, timeout: float = ANSWER) -> None:
        """``timeout`` is in seconds."""
        self.url = url
        self._timeout = timeout

    def get(self, path: str, **query: str | None) -> Any:
        """The JSON document at ``path``. Raises CommandError; 404 gives exit code 1."""
        given = {name: value for name, value in query.items() if value is not None}
        status, body = self._fetch(path + (f"?{_query(given)}" if given else ""))
        document = _parsed(body)
        if status == 200 and document is not None:
            return document
        told = document if isinstance(document, dict) else {}
        if "problem" in told:
            raise CommandError(str(told["problem"]), str(told.get("next", "")))
        if status == 503 and "errors" in told:
            raise _crowded(self.url)
        raise CommandError(
            f"{self.url} answers {status} for {path}",
            "Is that the admin port of a nodecache of this release? Name it with --admin URL, "
            "by an address or as localhost.",
        )

    def _fetch(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            kind, host, port = kinds[parts.scheme], parts.hostname or "", parts.port
        except (KeyError, ValueError):
            raise CommandError(
                f"--admin: {self.url!r} is no URL", "It is like http://localhost:5002.", 2
            ) from None
        with closing(kind(host, port, timeout=self._timeout)) as connection:
            try:
                connection.request("GET", parts.path + path, headers={"Accept": "application/json"})
                answer = connection.getresponse()
                return answer.status, answer.read()
            except TimeoutError:
                problem = f"the node on {self.url} does not answer (for {self._timeout:.0f} s)"
                raise CommandError(problem, _STANDS, EXIT_UNREACHABLE) from None
            except (OSError, http.client.HTTPException) as error:
                raise CommandError(
                    f"no node answers on {self.url} ({_reason(error)})",
                    f"{_START}, or name its admin port with --admin URL or NODECACHE_ADMIN_URL.",
                    EXIT_UNREACHABLE,
                ) from None


class _OverUnix(http.client.HTTPConnection):
    """HTTP to the socket at ``path``."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) <= SOCKET_PATH:
            self.sock.connect(self._path)
            return
        folder, name = os.path.split(self._path)
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{opened}/{name}")
        finally:
            os.close(opened)


class Control:
    """The control socket at ``path``."""

    def __init__(self, path: str, silence: float = SILENCE) -> None:
        """``silence`` is in seconds."""
        self.path = path
        self._silence = silence

    def run(self, verb: str, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Give an order; what is told of it, ``{"event": "done", ...}`` last.

        Whoever stops reading hangs up, and the work is given up. Raises
        CommandError: the order failed, or the node can not be reached.
        """
        connection = _OverUnix(self.path, self._silence)
        with closing(connection):
            self._ask(connection, verb, document)
            yield from self._lines(connection)

    def done(self, verb: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """As ``run``, for who wants the last line alone."""
        return deque(self.run(verb, document), maxlen=1).pop()

    def _ask(self, connection: _OverUnix, verb: str, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        if len(body) > ORDER_BYTES:
            raise CommandError(
                f"the order has {len(body)} bytes, and a node takes {ORDER_BYTES}",
                "Name fewer images at a time, or mean them by a pattern.",
            )
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", f"/control/v1/{quote(verb)}", body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _lines(self, connection: _OverUnix) -> Iterator[dict[str, Any]]:
        problem, next_step = _GONE
        try:
            with closing(connection.getresponse()) as answer:
                while line := answer.readline(LINE):
                    told = _parsed(line)
                    if answer.status == 503:
                        raise _crowded(self.path)
                    if not isinstance(told, dict) or "event" not in told:
                        problem, next_step = f"the node answers {answer.status}", _RELEASE
                        break
                    if told["event"] == "failed":
                        raise CommandError(str(told["problem"]), str(told.get("next", "")))
                    if told["event"] != "alive":
                        yield told
                    if told["event"] == "done":
                        return
        except TimeoutError:
            problem = f"the node says nothing any more (for {self._silence:.0f} s)"
            next_step = _STANDS
        except (OSError, http.client.HTTPException):
            pass
        raise CommandError(problem, next_step, EXIT_UNREACHABLE)

    def _unreachable(self, error: Exception) -> CommandError:
        if isinstance(error, PermissionError):
            return CommandError(
                f"{self.path} may not be opened",
                "It is for the user that runs the node, and for root: become one of them.",
                EXIT_UNREACHABLE,
            )
        gone = getattr(error, "errno", None) in (errno.ENOENT, errno.ECONNREFUSED)
        problem = "no node runs there" if gone else _reason(error)
        return CommandError(
            f"no node answers on {self.path} ({problem})",
            f"{_START}, or name its data folder with --data-dir DIR or NODECACHE_DATA_DIR.",
            EXIT_UNREACHABLE,
        )


def _crowded(where: str) -> CommandError:
    """It answers each connection that is one too many so."""
    problem = f"the node on {where} has as many connections as it may have"
    return CommandError(problem, _CROWDED, EXIT_UNREACHABLE)


def _query(given: Mapping[str, str]) -> str:
    # What was typed in letters that this terminal's settings do not know.
    return urlencode(given, errors="surrogateescape")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
