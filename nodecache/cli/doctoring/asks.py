"""Questions over HTTP: to the mirror's port, to the admin port, to the upstreams and to peers."""

from __future__ import annotations

import email.message
import email.utils
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from nodecache.cli.client import Admin
from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from nodecache.config import UpstreamSettings
from nodecache.runtimes.facts import Answer, NodeFacts, PortFacts, UpstreamFacts

Headers: TypeAlias = "email.message.Message[str, str]"

#: Seconds that each question may take.
_PORT: Final = 5.0
_ADMIN: Final = 5.0
_UPSTREAM: Final = 8.0
#: A path where no registry has an endpoint: its answer names nodecache, and asks nothing upstream.
_NOWHERE: Final = "/v2/nodecache"
_OURS: Final = "Nodecache-Request-Id"
#: Seconds after which it is strange that nobody asked a node for anything.
_LONG: Final = 3600.0
#: Peers that are asked for the time.
_PEERS: Final = 3


def port(mirror: str, *, in_pod: bool) -> PortFacts:
    """Who answers at the mirror's address."""
    began = time.monotonic()
    try:
        status, headers = _ask(mirror, _NOWHERE, _PORT)
    except ConnectionRefusedError:
        return PortFacts(mirror, Answer.REFUSED, in_pod=in_pod)
    except TimeoutError:
        return PortFacts(mirror, Answer.SILENT, f"nothing in {_PORT:.0f} s", in_pod=in_pod)
    except (OSError, http.client.HTTPException) as error:
        answer = Answer.OTHER if isinstance(error, http.client.HTTPException) else Answer.FAILED
        return PortFacts(mirror, answer, _reason(error), in_pod=in_pod)
    seconds = time.monotonic() - began
    if _OURS in headers:
        return PortFacts(mirror, Answer.OURS, seconds=seconds, in_pod=in_pod)
    named = headers.get("Server") or headers.get("Docker-Distribution-Api-Version") or "no name"
    return PortFacts(mirror, Answer.OTHER, f"{status}, {named}", seconds, in_pod=in_pod)


def _ask(url: str, path: str, timeout: float) -> tuple[int, Headers]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    with closing(kind(parts.hostname or "", parts.port, timeout=timeout)) as connection:
        connection.request("GET", path, headers={"Accept": "*/*"})
        answer = connection.getresponse()
        answer.read(4096)
        return answer.status, answer.headers


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def node(url: str) -> tuple[NodeFacts, Mapping[str, Any]]:
    """What the admin port says, and its status document ({} where it gives none)."""
    admin = Admin(url, _ADMIN)
    try:
        status = _document(admin, "/api/v1/status") or {}
        peers = _document(admin, "/api/v1/peers")
    except CommandError as error:
        return NodeFacts(url, problem=error.problem), {}
    down = [one["url"] for one in status.get("upstreams", ()) if one.get("up") is False]
    down += [one["origin"] for one in status.get("also_down", ())]
    found = NodeFacts(
        url,
        peers=peers,
        down=tuple(dict.fromkeys(down)),
        offline=bool(status.get("offline")),
        unasked_seconds=_unasked(status),
    )
    return found, status


def _unasked(status: Mapping[str, Any]) -> float | None:
    """None where it was asked, or has not run for long."""
    asked = any(status.get(key) for key in ("hits", "misses"))
    uptime = float(status.get("uptime_seconds") or 0)
    return None if asked or uptime < _LONG else uptime


def _document(admin: Admin, path: str) -> Mapping[str, Any] | None:
    """None where this node has nothing to say there. Raises CommandError: nobody answers."""
    try:
        found = admin.get(path)
    except CommandError as error:
        if error.exit_code == EXIT_UNREACHABLE:
            raise
        return None
    return found if isinstance(found, Mapping) else None


def peer_skews(peers: Mapping[str, Any] | None) -> tuple[float, ...]:
    """This clock less those of a few peers, in seconds; they say the time to strangers too."""
    rows = (peers or {}).get("peers", ())
    addresses = [row["addresses"][0] for row in rows if row.get("addresses")][:_PEERS]
    found = []
    for address in addresses:
        began = time.time()
        try:
            _, headers = _ask(f"http://{address}", "/peer/v1/hello", _PORT)
        except (OSError, ValueError, http.client.HTTPException):
            continue
        found.append(_skew(headers, began, time.time()))
    return tuple(skew for skew in found if skew is not None)


def upstreams(asked: Sequence[UpstreamSettings]) -> tuple[UpstreamFacts, ...]:
    """Each upstream's ``/v2/``, all at a time, by the proxies and roots of its settings."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(_upstream, asked))


def _upstream(settings: UpstreamSettings) -> UpstreamFacts:
    began = time.time()
    try:
        status, headers = _opened(settings)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return UpstreamFacts(settings.namespace, settings.url, problem=_reason(error))
    skew = _skew(headers, began, time.time())
    return UpstreamFacts(settings.namespace, settings.url, status, skew=skew)


def _opened(settings: UpstreamSettings) -> tuple[int, Headers]:
    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"{settings.url}/v2/", timeout=_UPSTREAM) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def _skew(headers: Headers, began: float, ended: float) -> float | None:
    """From the middle of the question; a Date is cut to the second, so half of one is added."""
    try:
        theirs = email.utils.parsedate_to_datetime(headers["Date"]).timestamp() + 0.5
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (began + ended) / 2 - theirs
