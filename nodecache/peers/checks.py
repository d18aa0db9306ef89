"""Is what a peer answered what was asked for?"""

from __future__ import annotations

import hashlib

from nodecache.peers.courier import Answered
from nodecache.peerwire import codec
from nodecache.peerwire.answers import Bytes, Manifest
from nodecache.peerwire.codec import WireFault
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion
from nodecache.reference import Digest


def its_hello(answered: Answered) -> Hello:
    """Raises WireFault."""
    hello = codec.decode_hello(answered.body or b"")
    if hello.id != answered.node:
        raise WireFault("its greeting names another node")
    return hello


def check_total(question: BlobQuestion, answer: Bytes) -> None:
    """Raises WireFault where the blob can not have so many bytes."""
    total, start = answer.total, question.span.start
    if question.size is not None and total != question.size:
        raise WireFault(f"it says that the blob has {total} bytes, and it has {question.size}")
    if total <= start and (total or start):
        raise WireFault("the span is behind the end of its blob")


def is_it(manifest: Manifest, question: ManifestQuestion) -> bool:
    """Whether the digest is the one asked for, and the bytes are those of the digest."""
    if isinstance(question.reference, Digest) and manifest.digest != question.reference:
        return False
    body = manifest.body
    return body is None or hashlib.sha256(body).hexdigest() == manifest.digest.hex
