"""Questions as HTTP: targets and headers, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from nodecache.byteranges import Span, parse_range_header
from nodecache.failures import Failure
from nodecache.peerwire import fields as f
from nodecache.peerwire.fields import WireFault
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Repository, parse_reference
from nodecache.segments import segment_of

ROOT: Final = "/peer/v1/"
BLOB: Final = ROOT + "blob"
MANIFEST: Final = ROOT + "manifest"
HELLO: Final = ROOT + "hello"
SUSPECT: Final = ROOT + "suspect"
STATUS: Final = ROOT + "status"
WARM: Final = ROOT + "warm"

#: Characters of a request's target.
MOST_TARGET: Final = 2048


def encode_blob(question: BlobQuestion) -> tuple[str, dict[str, str]]:
    """Target and headers of a request. Raises WireFault for a span that can not be asked."""
    _check_span(question.span)
    pairs = _asked(question.repository, question.mode, question.seconds)
    pairs["digest"] = str(question.digest)
    if question.size is not None:
        pairs["size"] = str(question.size)
    if question.verified:
        pairs["verified"] = "1"
    if question.as_owner:
        pairs["owner"] = "1"
    if question.wait > 0:
        pairs["wait"] = f.millis(question.wait)
    asked = f"bytes={question.span.start}-{question.span.stop - 1}"
    return _target(BLOB, pairs), {"Range": asked}


def decode_blob(target: str, range_header: str | None) -> BlobQuestion:
    """The question of a GET or HEAD. Raises WireFault."""
    pairs = _pairs(target, BLOB)
    size, wait = pairs.get("size"), pairs.get("wait")
    return BlobQuestion(
        repository=_repository(pairs),
        digest=f.digest(f.required(pairs, "digest")),
        span=_span(range_header),
        mode=_mode(pairs),
        seconds=f.seconds(f.required(pairs, "left"), "left"),
        size=None if size is None else f.number(size, "size", f.MOST_TOTAL),
        verified=f.flag(pairs.get("verified"), "verified"),
        as_owner=f.flag(pairs.get("owner"), "owner"),
        wait=0.0 if wait is None else f.seconds(wait, "wait"),
    )


def encode_manifest(question: ManifestQuestion) -> tuple[str, str]:
    """Method and target of a request."""
    pairs = _asked(question.repository, question.mode, question.seconds)
    pairs["ref"] = str(question.reference)
    if question.youth is not None:
        pairs["youth"] = f.millis(question.youth)
    if question.as_owner:
        pairs["owner"] = "1"
    return "HEAD" if question.head else "GET", _target(MANIFEST, pairs)


def decode_manifest(method: str, target: str) -> ManifestQuestion:
    """The question of a GET or HEAD. Raises WireFault."""
    pairs = _pairs(target, MANIFEST)
    repository = _repository(pairs)
    try:
        reference = parse_reference(f.required(pairs, "ref"))
    except Failure:
        raise WireFault("ref is neither a tag nor a digest") from None
    youth = pairs.get("youth")
    return ManifestQuestion(
        repository,
        reference,
        _mode(pairs),
        f.seconds(f.required(pairs, "left"), "left"),
        head=method == "HEAD",
        youth=None if youth is None else f.seconds(youth, "youth"),
        as_owner=f.flag(pairs.get("owner"), "owner"),
    )


def _asked(repository: Repository, mode: Mode, seconds: float) -> dict[str, str]:
    return {
        "ns": repository.namespace,
        "name": repository.name,
        "mode": mode.value,
        "left": f.millis(seconds),
    }


def _target(path: str, pairs: Mapping[str, str]) -> str:
    query = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in pairs.items())
    return f"{path}?{query}"


def _pairs(target: str, path: str) -> dict[str, str]:
    """The query of a target, whose path must be ``path``. Unknown names are left alone."""
    if len(target) > MOST_TARGET or not target.isascii():
        raise WireFault("the target is overlong, or not ASCII")
    asked, _, query = target.partition("?")
    if asked != path:
        raise WireFault("another path")
    pairs: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name in pairs:
            raise WireFault("the query names something twice")
        pairs[name] = unquote_to_bytes(value).decode("latin-1")
    return pairs


def _repository(pairs: Mapping[str, str]) -> Repository:
    name = f.required(pairs, "name")
    if len(name) > 255:
        raise WireFault("the name is overlong")
    try:
        return Repository(f.required(pairs, "ns"), name)
    except Failure:
        raise WireFault("not a repository") from None


def _mode(pairs: Mapping[str, str]) -> Mode:
    text = f.required(pairs, "mode")
    if text not in {mode.value for mode in Mode}:
        raise WireFault("not a mode")
    return Mode(text)


def _span(header: str | None) -> Span:
    asked = parse_range_header(header if header is not None and len(header) < 100 else None)
    if asked is None or asked.first is None or asked.last is None:
        raise WireFault("the Range is not one closed range")
    span = Span(asked.first, asked.last + 1)
    _check_span(span)
    return span


def _check_span(span: Span) -> None:
    if span.size == 0 or span.stop > f.MOST_TOTAL:
        raise WireFault("the span is empty, or no blob reaches it")
    if segment_of(span.start) != segment_of(span.stop - 1):
        raise WireFault("the span is in more than one segment")
