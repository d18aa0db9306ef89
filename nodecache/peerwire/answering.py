"""Answers as HTTP: statuses and headers, and back again.

| answer | status | headers, each with ``Nodecache-`` before it |
|---|---|---|
| Bytes | 206 | ``Total``, ``Ranged``, ``Fetched``; the body is frames (of a HEAD: none) |
| Manifest | 200 | ``Digest``, ``Media-Type``, ``Size``, ``Age``, ``Fetched``; the body is it |
| Fetching | 202 | ``Retry`` (milliseconds, as all times are) |
| Elsewhere | 503 | ``Retry``, ``Peers`` (``id=address, ...``), ``Leaving`` |
| Absent | 404 | |
| UpstreamAbsent | 404 | ``Kind``, ``Message``, ``Status`` |
| Denied | 403 | ``Message`` |
| UpstreamBroken | 502 | ``Kind``, ``Message``, ``Status``, ``Retry`` |

All that an answer says is in its headers, so that a HEAD says as much as a GET.
``fields`` below are the wire's headers of a message as ``fields_of`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from nodecache.failures import ABSENT_KINDS, UpstreamKind
from nodecache.peerwire import fields as f
from nodecache.peerwire.answers import (
    Absent,
    BlobAnswer,
    Bytes,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    ManifestAnswer,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.fields import WireFault

#: Peers that one answer refers to.
MOST_REFERRED: Final = 4
#: Bytes of a manifest that can be.
MOST_MANIFEST: Final = 64 * 1024 * 1024

_MEDIA_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


@attrs.frozen
class Encoded:
    """An answer as HTTP; the names in ``headers`` are as they are sent.

    ``body`` is that of a small answer; None where frames follow.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None = b""


def encode_answer(answer: BlobAnswer | ManifestAnswer) -> Encoded:
    """Without ``Nodecache-Peer``, ``-Wire`` and ``-Proof``, which who answers adds.

    The body of a manifest is empty where the answer has none (a HEAD's).
    """
    match answer:
        case Bytes(total, ranged, fetched):
            headers = {"Total": str(total), "Ranged": _flag(ranged), "Fetched": _flag(fetched)}
            return _encoded(206, "bytes", headers, None)
        case Manifest():
            return _encoded(200, "manifest", _manifest_headers(answer), answer.body or b"")
        case Fetching(retry):
            return _encoded(202, "fetching", {"Retry": f.millis(retry)})
        case Elsewhere(retry, peers, leaving):
            named = ", ".join(f"{peer}={address}" for peer, address in peers[:MOST_REFERRED])
            headers = {"Retry": f.millis(retry), "Leaving": _flag(leaving)}
            return _encoded(503, "elsewhere", headers | ({"Peers": named} if named else {}))
        case Absent():
            return _encoded(404, "absent", {})
        case UpstreamAbsent(kind, message, status):
            return _encoded(404, "upstream-absent", _upstream(kind, message, status))
        case Denied(reason):
            return _encoded(403, "denied", {"Message": f.words(reason)})
        case UpstreamBroken(kind, message, status, retry):
            headers = _upstream(kind, message, status)
            later = {} if retry is None else {"Retry": f.millis(retry)}
            return _encoded(502, "upstream-broken", headers | later)


def _encoded(
    status: int, word: str, headers: Mapping[str, str], body: bytes | None = b""
) -> Encoded:
    named = {f"Nodecache-{name}": value for name, value in headers.items()}
    return Encoded(status, {"Nodecache-Answer": word, **named}, body)


def _flag(value: bool) -> str:  # noqa: FBT001  # it is all there is
    return "1" if value else "0"


def _upstream(kind: UpstreamKind, message: str, status: int | None) -> dict[str, str]:
    known = {} if status is None else {"Status": str(status)}
    return {"Kind": kind.value, "Message": f.words(message)} | known


def _manifest_headers(manifest: Manifest) -> dict[str, str]:
    age = {} if manifest.age is None else {"Age": f.millis(manifest.age)}
    return age | {
        "Digest": str(manifest.digest),
        "Media-Type": manifest.media_type,
        "Size": str(manifest.size),
        "Fetched": _flag(manifest.fetched),
    }


def decode_blob_answer(status: int, fields: Mapping[str, str]) -> BlobAnswer:
    """Raises WireFault for what is no answer to a ``blob``."""
    answer = _decode(status, fields, None)
    if isinstance(answer, Manifest):
        raise WireFault("a manifest was not asked for")
    return answer


def decode_manifest_answer(
    status: int, fields: Mapping[str, str], body: bytes | None
) -> ManifestAnswer:
    """``body`` is None for that of a HEAD. Raises WireFault for what is no answer."""
    answer = _decode(status, fields, body)
    if isinstance(answer, Bytes):
        raise WireFault("bytes of a blob were not asked for")
    return answer


def _decode(
    status: int, fields: Mapping[str, str], body: bytes | None
) -> BlobAnswer | ManifestAnswer:
    word = f.required(fields, f.ANSWER)
    known, decode = _DECODERS.get(word, (0, None))
    if known != status or decode is None:
        raise WireFault(f"status {status} and answer {word[:32]!r} do not belong together")
    return decode(fields, body)


def _bytes(fields: Mapping[str, str], body: bytes | None) -> Bytes:
    del body
    return Bytes(
        total=f.number(_of(fields, "total"), "total", f.MOST_TOTAL),
        ranged=f.flag(_of(fields, "ranged"), "ranged"),
        fetched=f.flag(fields.get("nodecache-fetched"), "fetched"),
    )


def _manifest(fields: Mapping[str, str], body: bytes | None) -> Manifest:
    age = fields.get("nodecache-age")
    media_type = _of(fields, "media-type")
    size = f.number(_of(fields, "size"), "size", MOST_MANIFEST)
    if not _MEDIA_TYPE.fullmatch(media_type) or len(media_type) > 255:
        raise WireFault("not a media type")
    if body is not None and len(body) != size:
        raise WireFault("the manifest is not of the size that is told")
    return Manifest(
        digest=f.digest(_of(fields, "digest")),
        media_type=media_type,
        size=size,
        age=None if age is None else f.seconds(age, "age"),
        body=body,
        fetched=f.flag(fields.get("nodecache-fetched"), "fetched"),
    )


def _elsewhere(fields: Mapping[str, str], body: bytes | None) -> Elsewhere:
    del body
    named = fields.get("nodecache-peers")
    parts = [part.strip(" ") for part in named.split(",", MOST_REFERRED)] if named else []
    if len(parts) > MOST_REFERRED:
        raise WireFault("it refers to too many peers")
    pairs = [part.partition("=") for part in parts]
    return Elsewhere(
        retry=f.seconds(_of(fields, "retry"), "retry"),
        peers=tuple((f.node_id(peer), f.address(where)) for peer, _, where in pairs),
        leaving=f.flag(fields.get("nodecache-leaving"), "leaving"),
    )


def _upstream_absent(fields: Mapping[str, str], body: bytes | None) -> UpstreamAbsent:
    del body
    kind = _kind(fields)
    if kind not in ABSENT_KINDS:
        raise WireFault("upstream says nothing of absence")
    return UpstreamAbsent(kind, _message(fields), _status(fields))


def _upstream_broken(fields: Mapping[str, str], body: bytes | None) -> UpstreamBroken:
    del body
    retry = fields.get("nodecache-retry")
    later = None if retry is None else f.seconds(retry, "retry")
    return UpstreamBroken(_kind(fields), _message(fields), _status(fields), later)


def _of(fields: Mapping[str, str], name: str) -> str:
    return f.required(fields, f"nodecache-{name}")


def _kind(fields: Mapping[str, str]) -> UpstreamKind:
    text = _of(fields, "kind")
    if text not in {kind.value for kind in UpstreamKind}:
        raise WireFault("not a kind of failure")
    return UpstreamKind(text)


def _message(fields: Mapping[str, str]) -> str:
    return f.from_words(fields.get("nodecache-message", ""))


def _status(fields: Mapping[str, str]) -> int | None:
    text = fields.get("nodecache-status")
    return None if text is None else f.number(text, "status", 999)


_Decoder = Callable[[Mapping[str, str], bytes | None], BlobAnswer | ManifestAnswer]

_DECODERS: Final[Mapping[str, tuple[int, _Decoder | None]]] = {
    "bytes": (206, _bytes),
    "manifest": (200, _manifest),
    "fetching": (
        202,
        lambda fields, _: Fetching(f.seconds(_of(fields, "retry"), "retry")),
    ),
    "elsewhere": (503, _elsewhere),
    "absent": (404, lambda _fields, _body: Absent()),
    "upstream-absent": (404, _upstream_absent),
    "denied": (403, lambda fields, _: Denied(_message(fields))),
    "upstream-broken": (502, _upstream_broken),
}

#: The words of answers that are refusals.
REFUSALS: Final = frozenset(_DECODERS) - {"bytes", "manifest"}
