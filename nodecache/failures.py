"""What can go wrong on the way to an answer, typed by whose fault it is.

The shell raises these and nothing else on its way to a client; ``answers`` is
the only module that turns one into a status. Messages are written for the
person who reads the registry error or the log line, and hold no secrets.
"""

from __future__ import annotations

import enum


class Failure(Exception):
    """Base of everything that ends in an error answer instead of a body."""


class RequestProblem(enum.Enum):
    """What is wrong with a request, by the registry error code it maps to."""

    NAME = "name"
    TAG = "tag"
    DIGEST = "digest"
    DIGEST_ALGORITHM = "digest_algorithm"
    PATH = "path"
    ENDPOINT = "endpoint"  # a well-formed path where nothing lives
    QUERY = "query"
    METHOD = "method"
    RANGE = "range"
    HEADERS = "headers"
    BODY = "body"


class BadRequest(Failure):
    """The client asked for something no registry would answer."""

    def __init__(self, problem: RequestProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message


class UnknownNamespace(Failure):
    """``?ns=`` names an upstream outside the closed list."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"namespace {namespace!r} is not served here")
        self.namespace = namespace


class NameDenied(Failure):
    """This node's own rules refuse the repository, whatever is on disk."""

    def __init__(self, name: str) -> None:
        super().__init__(f"repository {name!r} is denied by this node's rules")
        self.name = name


class RangeNotSatisfiable(Failure):
    """The range starts at or behind the end (RFC 9110 section 15.5.17)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"range not satisfiable, size is {size} bytes")
        self.size = size


class OfflineMiss(Failure):
    """``--offline`` is set and it is not here."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not cached, and this node is offline")
        self.what = what


class BlobsMissing(Failure):
    """A cached manifest whose blobs can not be had now: better not handed out.

    A client that commits to the source of its manifest (CRI-O, podman) would
    otherwise fail on the first blob instead of falling back.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is cached, but not all of its blobs, and upstream fails")
        self.what = what


class UpstreamKind(enum.Enum):
    """How an upstream failed; the value is the metric label."""

    NOT_FOUND = "not_found"  # 404
    DENIED = "denied"  # 401 after a fresh token, 403
    LIMITED = "limited"  # 429
    ERROR = "error"  # 5xx, or any other status we do not expect
    TIMEOUT = "timeout"  # silence, or the deadline ran out
    UNREACHABLE = "unreachable"  # DNS, connect, TLS
    CUT = "cut"  # the body ended early
    WRONG = "wrong"  # wrong digest, wrong length, HTML, a redirect we refuse
    DOWN = "down"  # remembered: not asked at all


#: Kinds that say something about the name or digest asked for; all others say
#: something about the upstream as a whole.
ABSENT_KINDS = frozenset({UpstreamKind.NOT_FOUND, UpstreamKind.DENIED})


class UpstreamFailure(Failure):
    """An upstream could not or would not give what was asked.

    ``retry_after`` is seconds from now, where upstream or our own memory of
    its failure names a time; ``status`` is the HTTP status, if there was one.
    """

    def __init__(
        self,
        kind: UpstreamKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after

    @property
    def is_absence(self) -> bool:
        """Upstream was asked and said no: 401, 403 or 404."""
        return self.kind in ABSENT_KINDS


class PeerKind(enum.Enum):
    """How a peer failed; the value is the metric label."""

    REFUSED = "refused"  # no connection
    TIMEOUT = "timeout"  # silence
    CUT = "cut"  # the body ended early
    WRONG = "wrong"  # no answer of our protocol: HTML, a wrong length, another peer's
    ERROR = "error"  # it says that it failed (5xx), or broke off and said so
    CORRUPT = "corrupt"  # bytes that are not those of their checksum, or of the blob
    DOUBTED = "doubted"  # wrong bytes came from it, and it may have had them from another
    STRANGER = "stranger"  # it knows none of our secrets, or we none of its
    VERSION = "version"  # another wire version


class PeerFailure(UpstreamFailure):
    """A peer could not give what was asked. Says nothing of the upstream, nor of the blob.

    ``peer`` is the peer's node id (its address where the id is not known yet).
    Whoever meets it asks elsewhere; it is never a client's answer.
    """

    def __init__(self, peer: str, problem: PeerKind, message: str) -> None:
        super().__init__(_LIKE.get(problem, UpstreamKind.WRONG), message)
        self.peer = peer
        self.problem = problem


_LIKE = {
    PeerKind.REFUSED: UpstreamKind.UNREACHABLE,
    PeerKind.TIMEOUT: UpstreamKind.TIMEOUT,
    PeerKind.CUT: UpstreamKind.CUT,
    PeerKind.ERROR: UpstreamKind.ERROR,
}


class StoreFailure(Failure):
    """The local disk could not do it (EIO, read-only, gone)."""


class NoRoom(StoreFailure):
    """Not enough room within the cap and above the floor, even after eviction."""


class Crowded(Failure):
    """A port has as many connections as it may have, of one address or of all."""


class FlightFailed(Failure):
    """A blob in flight ended without becoming whole; ``cause`` says why."""

    def __init__(self, cause: Failure) -> None:
        super().__init__(str(cause))
        self.cause = cause


def root_of(failure: Failure) -> Failure:
    """What made a flight fail; every other failure is its own."""
    while isinstance(failure, FlightFailed):
        failure = failure.cause
    return failure


#: Exit code of the process for the two below.
EXIT_UNUSABLE = 2


class ConfigError(Exception):
    """A setting is wrong; the message is one line and names the key."""


class DataFolderError(Exception):
    """The data folder can not be used (not writable, locked, wrong format)."""
