"""Who may ask, and whose answer it is: HMAC-SHA-256 with the cluster's secrets.

A request is signed over all that it asks, a time and a nonce, and over whom it
is for, so that what was overheard can be sent again neither to the same node
(which remembers nonces as long as their times are good) nor to another one.
An answer proves itself over the request's signature: a stranger at an address
that was used again can not answer, nor can an old answer be shown again.

Times are whole milliseconds since the epoch. To a verifier a clock that goes
back stands still, or it would have forgotten what is good again; who asks is
told its time, and signs by that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from nodecache.limits import WIRE_VERSION
from nodecache.peerwire import fields as f

#: Nonces that are remembered; each costs some 120 bytes.
MOST_NONCES: Final = 262_144
#: Bytes of a nonce, which is sent as hex digits.
NONCE_BYTES: Final = 16

_SIGNATURE = re.compile(r"t=([0-9]{1,15}), n=([0-9a-f]{32}), s=([0-9a-f]{64})")


@attrs.frozen
class Asked:
    """What the signature of a request covers.

    ``target`` is path and query as sent; ``range`` the Range header, empty
    where there is none; ``node`` is who asks (``Nodecache-Peer``), ``to`` who
    is asked (``Nodecache-To``): a node id, or an address where the id is not known.
    """

    method: str
    target: str
    node: str
    to: str
    range: str = ""
    body: bytes = b""


@attrs.frozen
class Accepted:
    """``secret`` is the number of the secret that signed; ``signature`` goes into the proof."""

    secret: int
    signature: str


@attrs.frozen
class BadSignature:
    """None of our secrets made it, or there is none at all."""


@attrs.frozen
class Expired:
    """Signed well, for another time; ``now`` is ours in milliseconds."""

    secret: int
    signature: str
    now: int


@attrs.frozen
class Replayed:
    """Signed well, and seen before."""


@attrs.frozen
class Misdirected:
    """Signed well, for another node."""

    secret: int
    signature: str


@attrs.frozen
class Crowded:
    """Signed well; but there is no room to remember it, so it is not served."""

    secret: int
    signature: str


Verdict: TypeAlias = Accepted | BadSignature | Expired | Replayed | Misdirected | Crowded


def sign(asked: Asked, secret: bytes, now: int, nonce: str) -> str:
    """The value of ``Nodecache-Signature``. ``nonce`` is 32 hex digits, never used before."""
    return f"t={now}, n={nonce}, s={_request_mac(asked, secret, str(now), nonce)}"


def _request_mac(asked: Asked, secret: bytes, time: str, nonce: str) -> str:
    return _mac(
        secret,
        "request",
        WIRE_VERSION,
        asked.method,
        asked.target,
        asked.range,
        time,
        nonce,
        asked.node,
        asked.to,
        hashlib.sha256(asked.body).hexdigest(),
    )


def _mac(secret: bytes, *lines: str) -> str:
    # No line can hold a newline: all are header values or parts of a request line.
    message = "\n".join(lines).encode("utf-8", "backslashreplace")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def signature_of(header: str) -> str | None:
    """The part of the header that an answer's proof is made over; None if it is malformed."""
    found = _SIGNATURE.fullmatch(header)
    return None if found is None else found[3]


class Nonces:
    """Remembers what was accepted, by the second for which it was signed.

    Nothing is forgotten before its time has run out; what would not fit is
    refused instead.
    """

    def __init__(self, most: int = MOST_NONCES) -> None:
        self._most = most
        self._seconds: dict[int, set[bytes]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def seen(self, time: int, nonce: bytes) -> bool:
        return nonce in self._seconds.get(time // 1000, ())

    def remember(self, time: int, nonce: bytes) -> bool:
        """False when there is no room."""
        if self._count >= self._most:
            return False
        self._seconds.setdefault(time // 1000, set()).add(nonce)
        self._count += 1
        return True

    def forget_before(self, time: int) -> None:
        """Drop what was signed for seconds that are over at ``time``."""
        old = [second for second in self._seconds if (second + 1) * 1000 <= time]
        for second in old:
            self._count -= len(self._seconds.pop(second))


class Verifier:
    """Judges the requests that come in; ``me`` is this node's id, ``window`` is in seconds."""

    def __init__(self, me: str, window: float, nonces: Nonces | None = None) -> None:
        self._me = me
        self._window = int(window * 1000)
        self._nonces = Nonces() if nonces is None else nonces
        self._latest = 0

    def check(
        self, asked: Asked, header: str | None, secrets: Sequence[bytes], now: int
    ) -> Verdict:
        """``header`` is ``Nodecache-Signature``; ``secrets`` are all that are accepted.

        Only an accepted request is remembered. How long it takes does not tell
        which secret was the right one, nor how much of a wrong one was right.
        """
        found = _SIGNATURE.fullmatch(header or "")
        if found is None:
            return BadSignature()
        secret = _which(asked, secrets, found[1], found[2], found[3])
        if secret is None:
            return BadSignature()
        now = self._latest = max(self._latest, now)
        time, nonce, signature = int(found[1]), bytes.fromhex(found[2]), found[3]
        if abs(time - now) > self._window:
            return Expired(secret, signature, now)
        if asked.to != self._me and ":" not in asked.to:
            return Misdirected(secret, signature)
        self._nonces.forget_before(now - self._window)
        if self._nonces.seen(time, nonce):
            return Replayed()
        if not self._nonces.remember(time, nonce):
            return Crowded(secret, signature)
        return Accepted(secret, signature)


def _which(
    asked: Asked, secrets: Sequence[bytes], time: str, nonce: str, claimed: str
) -> int | None:
    right = None
    for number, secret in enumerate(secrets):
        if hmac.compare_digest(_request_mac(asked, secret, time, nonce), claimed):
            right = number
    return right


def prove(
    secret: bytes,
    signature: str,
    status: int,
    fields: Mapping[str, str],
    body: bytes | None,
) -> str:
    """The value of ``Nodecache-Proof``.

    ``signature`` is that of the request (``Accepted.signature``), ``fields``
    all the wire's headers of the answer, names in any case, and ``body`` None
    where frames follow (they carry sums of their own).
    """
    named = sorted((name.lower(), value) for name, value in fields.items())
    lines = [
        f"{name}:{value}" for name, value in named if name.startswith(f.PREFIX) and name != f.PROOF
    ]
    digest = "-" if body is None else hashlib.sha256(body).hexdigest()
    return _mac(secret, "answer", signature, str(status), *lines, digest)


def proven(
    proof: str,
    secret: bytes,
    signature: str,
    status: int,
    fields: Mapping[str, str],
    body: bytes | None,
) -> bool:
    """Whether ``proof`` is that of the answer, in constant time."""
    right = prove(secret, signature, status, fields, body)
    return hmac.compare_digest(right.encode(), proof.encode("utf-8", "replace"))
