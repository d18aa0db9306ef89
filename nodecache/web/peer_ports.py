"""What the peer port is given, and what its parts hand each other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeAlias

import attrs

from nodecache.byteranges import Span
from nodecache.membership import Address, Peer
from nodecache.peerwire.answers import Bytes
from nodecache.peerwire.hello import Hello
from nodecache.results import Loan
from nodecache.web.peer_line import Pass


class Viewed(Protocol):
    """A view of the cluster, as far as it is looked at here. See ``membership.View``."""

    @property
    def me(self) -> Peer: ...

    @property
    def peers(self) -> Collection[object]:
        """The others."""
        ...

    def rank(self, key: str, most: int, /) -> tuple[Peer, ...]: ...

    def get(self, peer_id: str, /) -> Peer | None: ...


class Members(Protocol):
    """The membership, as far as it is asked here. ``now`` is on the monotonic clock."""

    leaving: bool

    def view(self, now: float, /) -> Viewed: ...

    def greeted(self, address: Address, hello: Hello, now: float, /) -> None: ...

    def hello(self, now: float, /) -> Hello: ...


#: What ``status`` shows; JSON can hold it.
Status: TypeAlias = Callable[[], dict[str, Any]]
#: All secrets that are accepted, as of now.
Secrets: TypeAlias = Callable[[], tuple[bytes, ...]]


@attrs.frozen
class Question:
    """A request whose signature was right. ``host`` is where it came from."""

    method: str
    target: str
    range: str | None
    body: bytes
    asker: str
    host: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@attrs.frozen
class Lent:
    """Bytes for a peer: whoever gets this sends ``span`` and finishes ``leave`` and ``loan``."""

    answer: Bytes
    loan: Loan
    leave: Pass
    span: Span
