"""The body of an answer without an encoding that nobody asked for."""

from __future__ import annotations

import zlib

from nodecache.failures import UpstreamFailure, UpstreamKind


def is_plain(encoding: str | None) -> bool:
    """Whether a Content-Encoding says that the bytes are as they are."""
    return encoding is None or encoding.strip().lower() in {"", "identity"}


def decoded(body: bytes, encoding: str | None, most: int) -> bytes:
    """The body without an encoding that we did not ask for. Raises UpstreamFailure(WRONG)."""
    if is_plain(encoding):
        return body
    if encoding is None or encoding.strip().lower() not in {"gzip", "x-gzip"}:
        raise UpstreamFailure(UpstreamKind.WRONG, f"the answer is encoded as {encoding!r}")
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, most + 1)
    except zlib.error:
        raise UpstreamFailure(UpstreamKind.WRONG, "the answer is no gzip as it says") from None
    if len(plain) > most or not stream.eof:
        raise UpstreamFailure(UpstreamKind.WRONG, f"the answer is no gzip of {most} bytes at most")
    return plain
