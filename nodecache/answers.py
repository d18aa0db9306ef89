"""Every failure as the answer a client gets: the one table of statuses.

The table follows from how the runtimes fall back. dockerd, containerd and
CRI-O go to the next source at once on a manifest's 404 or 5xx; dockerd retries
a blob's 5xx for 50 s, and a 429 makes containerd ask five times more and CRI-O
sleep. So, as a mirror, a manifest that can not be had now is a 503, a blob is
always a 404, and no 401, 403 or 429 is ever sent. Only where nodecache is the
sole registry of its clients, who then have nowhere to fall back to, does it
pass a 429 on and answer a blob's 503 as such. docs/operations.md holds the
same table (``render_table``).
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from typing import Final

import attrs

from nodecache.failures import (
    BadRequest,
    BlobsMissing,
    Crowded,
    Failure,
    NameDenied,
    NoRoom,
    OfflineMiss,
    RangeNotSatisfiable,
    StoreFailure,
    UnknownNamespace,
    UpstreamFailure,
    UpstreamKind,
    root_of,
)
from nodecache.reference import BasePath, BlobPath, ManifestPath, RegistryPath, TagsPath

#: Characters of a message or of a warning's text; the rest is cut off.
MESSAGE_LENGTH: Final = 512
#: Seconds. What to say to a client of a sole registry when nobody named a time.
DEFAULT_RETRY: Final = 60
#: Seconds. Connections come and go sooner than upstreams do.
CROWDED_RETRY: Final = 1
#: Seconds. Longer waits are not passed on.
LONGEST_RETRY: Final = 86400


class Asked(enum.Enum):
    """What a request was for; the value is its name in logs and metrics."""

    BASE = "base"
    MANIFEST = "manifest"
    BLOB = "blob"
    LISTING = "tags"
    REFERRERS = "referrers"
    OTHER = "other"


def asked_for(path: RegistryPath) -> Asked:
    """What a request path asks for."""
    if isinstance(path, BasePath):
        return Asked.BASE
    if isinstance(path, ManifestPath):
        return Asked.MANIFEST
    if isinstance(path, BlobPath):
        return Asked.BLOB
    return Asked.LISTING if isinstance(path, TagsPath) else Asked.REFERRERS


_KINDS: Final = {b"manifests": Asked.MANIFEST, b"blobs": Asked.BLOB, b"referrers": Asked.REFERRERS}


def seemingly_asked(raw_path: bytes) -> Asked:
    """What a path that was refused seems to ask for, so that its refusal has the right code."""
    parts = raw_path.split(b"/")
    if len(parts) < 3 or parts[1] != b"v2":
        return Asked.OTHER
    if parts[-2:] == [b"tags", b"list"]:
        return Asked.LISTING
    return _KINDS.get(parts[-2], Asked.OTHER)


@attrs.frozen
class Status:
    """An HTTP status and the registry error code that goes with it."""

    status: int
    code: str

    def __str__(self) -> str:
        return f"{self.status} {self.code}"


Outcome = Mapping[Asked, Status]


def _outcome(status: int, code: str, **others: Status) -> Outcome:
    """The same for all that may be asked, but for what ``others`` name."""
    rest = Status(status, code)
    return {kind: others.get(kind.name.lower(), rest) for kind in Asked}


_NO_MANIFEST: Final = Status(404, "MANIFEST_UNKNOWN")
_NO_BLOB: Final = Status(404, "BLOB_UNKNOWN")

_ABSENT: Final = _outcome(
    404, "NAME_UNKNOWN", manifest=_NO_MANIFEST, blob=_NO_BLOB, referrers=_NO_MANIFEST
)
_NOT_SERVED: Final = _outcome(404, "NAME_UNKNOWN", blob=_NO_BLOB)
_UNAVAILABLE: Final = _outcome(503, "UNAVAILABLE", blob=_NO_BLOB)
_BROKEN: Final = _outcome(500, "UNKNOWN", blob=_NO_BLOB)
# To a sole registry's clients.
_UNAVAILABLE_TO_ALL: Final = _outcome(503, "UNAVAILABLE")
_LIMITED_TO_ALL: Final = _outcome(429, "TOOMANYREQUESTS")
_BROKEN_TO_ALL: Final = _outcome(500, "UNKNOWN")


@attrs.frozen(eq=False)
class Row:
    """A row of the table: what happened, and what is answered.

    ``sole`` is what a sole registry answers instead, None where the same.
    ``header`` names the header that goes with it, "" for none.
    """

    what: str
    mirror: Outcome
    sole: Outcome | None = None
    header: str = ""


def _upstream_row(what: str, sole: Outcome = _UNAVAILABLE_TO_ALL) -> Row:
    return Row(f"not cached, upstream {what}", _UNAVAILABLE, sole, "Retry-After")


class Case(enum.Enum):
    """The rows of the table, in its order."""

    NAME = Row("malformed repository name", _outcome(400, "NAME_INVALID"))
    TAG = Row("malformed tag", _outcome(400, "TAG_INVALID"))
    DIGEST = Row("malformed digest", _outcome(400, "DIGEST_INVALID"))
    DIGEST_ALGORITHM = Row("well-formed digest, but not sha256", _ABSENT)
    PATH = Row(
        "path that no client sends (encoded slash, dot segment, NUL, overlong)",
        _outcome(400, "NAME_INVALID"),
    )
    ENDPOINT = Row("path where no endpoint is", _outcome(404, "UNSUPPORTED"))
    QUERY = Row(
        "malformed HTTP, or a malformed or repeated query value", _outcome(400, "UNSUPPORTED")
    )
    METHOD = Row("method other than GET and HEAD", _outcome(405, "UNSUPPORTED"), None, "Allow")
    HEADERS = Row("too many or too long headers", _outcome(431, "UNSUPPORTED"))
    BODY = Row("request with a body", _outcome(413, "UNSUPPORTED"))
    RANGE = Row("range that can not be served", _outcome(416, "RANGE_INVALID"))
    UNSATISFIABLE = Row(
        "range behind the end", _outcome(416, "RANGE_INVALID"), None, "Content-Range"
    )
    NAMESPACE = Row("`ns` is no configured upstream", _NOT_SERVED)
    DENIED_HERE = Row("name denied by this node's rules", _NOT_SERVED)
    OFFLINE = Row("not cached, and `--offline` is set", _ABSENT)
    NOT_FOUND = Row("not cached, upstream says 404", _ABSENT)
    DENIED = Row("not cached, upstream says 401 or 403", _ABSENT)
    LIMITED = _upstream_row("says 429", _LIMITED_TO_ALL)
    ERROR = _upstream_row("says 5xx, or what no registry says")
    TIMEOUT = _upstream_row("is silent")
    UNREACHABLE = _upstream_row("can not be reached (DNS, connect, TLS)")
    CUT = _upstream_row("ends its body early")
    WRONG = _upstream_row("answers wrongly (digest, length, HTML, redirect)")
    DOWN = _upstream_row("failed a moment ago and is not asked")
    BLOBS_MISSING = Row(
        "manifest cached, but not its blobs, and upstream fails", _UNAVAILABLE, _UNAVAILABLE_TO_ALL
    )
    NO_ROOM = Row(
        "no room on disk, and it can not be passed through", _UNAVAILABLE, _UNAVAILABLE_TO_ALL
    )
    STORE = Row("the disk fails", _UNAVAILABLE, _UNAVAILABLE_TO_ALL)
    CROWDED = Row(
        "more connections than a port may have", _UNAVAILABLE, _UNAVAILABLE_TO_ALL, "Retry-After"
    )
    UNEXPECTED = Row("a defect of nodecache", _BROKEN, _BROKEN_TO_ALL)

    @property
    def row(self) -> Row:
        return self.value


_BY_TYPE: Final[tuple[tuple[type[Failure], Case], ...]] = (
    (UnknownNamespace, Case.NAMESPACE),
    (NameDenied, Case.DENIED_HERE),
    (RangeNotSatisfiable, Case.UNSATISFIABLE),
    (OfflineMiss, Case.OFFLINE),
    (BlobsMissing, Case.BLOBS_MISSING),
    (NoRoom, Case.NO_ROOM),
    (StoreFailure, Case.STORE),
    (Crowded, Case.CROWDED),
)


def case(failure: Failure) -> Case:
    """The row that a failure belongs to; a flight's failure belongs to that of its cause."""
    failure = root_of(failure)
    if isinstance(failure, BadRequest):
        return Case[failure.problem.name]
    if isinstance(failure, UpstreamFailure):
        return Case[failure.kind.name]
    return next((found for kind, found in _BY_TYPE if isinstance(failure, kind)), Case.UNEXPECTED)


@attrs.frozen
class Answer:
    """An error answer. ``headers`` are those beyond the ones that every answer carries."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """The distribution-spec's error body, ASCII JSON."""
        error = {"code": self.code, "message": self.message, "detail": None}
        return json.dumps({"errors": [error]}).encode("ascii")


def answer(failure: Failure, asked: Asked, *, sole_registry: bool = False) -> Answer:
    """What a client is told of ``failure``, when it asked for ``asked``.

    A bare ``Failure()`` stands for a defect. Never raises.
    """
    failure = root_of(failure)
    row = case(failure).row
    outcome = row.sole if sole_registry and row.sole is not None else row.mirror
    status = outcome[asked]
    message = (str(failure) or row.what)[:MESSAGE_LENGTH]
    return Answer(status.status, status.code, message, _headers(failure, status.status))


def _headers(failure: Failure, status: int) -> tuple[tuple[str, str], ...]:
    if status == 405:
        return (("Allow", "GET, HEAD"),)
    if isinstance(failure, RangeNotSatisfiable):
        return (("Content-Range", f"bytes */{failure.size}"),)
    if status == 503 and isinstance(failure, Crowded):
        return (("Retry-After", str(CROWDED_RETRY)),)
    if status in {429, 503} and isinstance(failure, UpstreamFailure):
        return _retry_after(failure)
    return ()


def _retry_after(failure: UpstreamFailure) -> tuple[tuple[str, str], ...]:
    seconds = failure.retry_after
    if seconds is None or not math.isfinite(seconds):
        if failure.kind is not UpstreamKind.LIMITED:
            return ()
        seconds = DEFAULT_RETRY
    return (("Retry-After", str(min(LONGEST_RETRY, max(1, math.ceil(seconds))))),)


def stale_warning(reason: str) -> str:
    """The ``Warning`` header of a stale answer; ``reason`` may be any text.

    Well under the 4096 bytes that the distribution-spec grants all warnings.
    """
    text = "".join(char if " " <= char <= "~" else " " for char in reason[:MESSAGE_LENGTH])
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


def table() -> list[Row]:
    """The rows in the order of the documentation."""
    return [case.row for case in Case]


_COLUMNS: Final = (Asked.MANIFEST, Asked.BLOB, Asked.LISTING, Asked.REFERRERS)


def render_table() -> str:
    """The table in Markdown, one line a row, as docs/operations.md holds it."""
    lines = [
        "| what happened | manifest | blob | tags/list | referrers | as sole registry | header |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table():
        cells = [row.what, *(str(row.mirror[kind]) for kind in _COLUMNS), _sole(row), row.header]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _sole(row: Row) -> str:
    """A sole registry answers a row with one status, whatever was asked."""
    return "the same" if row.sole is None else str(row.sole[Asked.MANIFEST])
