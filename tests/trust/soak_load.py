"""The clients of the soak: each a thread in its node's namespace that checks every byte it gets.

What a client may meet depends on ``Weather``: while all is well every answer has to be whole,
and while something is broken it may be refused or broken off. A part of a blob that a node says it
has no room for is a refusal that is right now and then, under a cap so small; it is counted apart,
and ``soak_judge`` says how often. A complete body of other bytes is wrong at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from tests.system.cluster.member import MIRROR_PORT, Member
from tests.system.cluster.puller import ACCEPT
from tests.system.parts.images import Blob, Image

#: Seconds that a client waits for anything.
PATIENCE: Final = 40.0
#: Images that clients know at a time; the oldest go.
KNOWN: Final = 24
#: Of pulls: of the few images that all pull, of any, and of the newest.
SHARES: Final = (0.45, 0.25, 0.3)
CHUNK: Final = 1 << 16
#: How an act ended in calm weather, where no room was for a blob of which a part was asked for.
NO_ROOM: Final = "no room"
_RESET: Final = struct.pack("ii", 1, 0)


@attrs.define
class Shelf:
    """What there is to pull: ``tags`` are all digests that a moving tag ever meant."""

    hot: list[Image] = attrs.Factory(list)
    rare: list[Image] = attrs.Factory(list)
    moving: str = ""
    tags: dict[str, bytes] = attrs.Factory(dict)
    _bytes: dict[str, bytes] = attrs.Factory(dict)

    def add(self, of: Image, *, hot: bool = False) -> None:
        for blob in of.manifest.blobs:
            self._bytes[blob.digest] = b"".join(blob.chunks())
        if hot:
            self.hot.append(of)
            return
        self.rare = [*self.rare, of]
        if len(self.rare) > KNOWN:
            gone, *self.rare = self.rare
            for blob in gone.manifest.blobs:
                self._bytes.pop(blob.digest, None)

    def move(self, of: Image) -> None:
        """A tag that was pushed anew."""
        self.moving = of.name
        self.tags = {**self.tags, of.digest: of.manifest.body}

    def choose(self, rolled: random.Random) -> Image:
        which = rolled.choices(range(3), SHARES)[0]
        if which == 0:
            return rolled.choice(self.hot)
        return rolled.choice(self.rare) if which == 1 else self.rare[-1]

    def bytes_of(self, blob: Blob) -> bytes | None:
        """None where it has gone from the shelf meanwhile."""
        return self._bytes.get(blob.digest)


@attrs.define
class Weather:
    """``calm``: nothing is broken, and ``since`` when. ``open``: clients ask at all."""

    calm: bool = False
    since: float = 0.0
    open: bool = False
    over: bool = False


@attrs.define
class Tally:
    """What clients did, and what they got. ``problems`` name it."""

    did: Counter[str] = attrs.Factory(Counter)
    got: Counter[str] = attrs.Factory(Counter)
    bytes: int = 0
    calm_failures: int = 0
    wrong_bodies: int = 0
    problems: list[str] = attrs.Factory(list)
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def add(self, did: str, got: str, count: int) -> None:
        with self._lock:
            self.did[did] += 1
            self.got[got] += 1
            self.bytes += count

    def wrong(self, words: str) -> None:
        with self._lock:
            self.problems.append(words)

    def wrong_body(self, words: str) -> None:
        self.wrong(f"wrong bytes: {words}")
        with self._lock:
            self.wrong_bodies += 1

    def failed_in_calm(self, words: str) -> None:
        self.wrong(f"in calm weather: {words}")
        with self._lock:
            self.calm_failures += 1


class Trouble(Exception):
    """Refused, broken off or out of reach: right where something is broken."""


class Full(Trouble):
    """A part of a blob for which there is no room: whoever asked goes elsewhere."""


def refusal(status: int, path: str, body: bytes, *, ranged: bool) -> Trouble:
    """What an answer means that is none of a body."""
    full = ranged and status == 404 and b"so no part of it: no room for " in body
    return (Full if full else Trouble)(f"{status} {path} {body!r}")


@attrs.define
class Client:
    """One of a node. ``rate`` is how many things it does in a second, at most."""

    member: Member
    shelf: Shelf
    weather: Weather
    tally: Tally
    rolled: random.Random
    rate: float
    resting: bool = True
    _connection: http.client.HTTPConnection = attrs.field(init=False)
    _count: int = 0  # bytes of what it does now

    def run(self) -> None:
        """Until the weather is over."""
        acts: list[tuple[float, Callable[[], str]]] = [
            (0.45, self.pull),
            (0.15, self.ranged),
            (0.15, self.hang_up),
            (0.15, self.moving_tag),
            (0.05, self.listing),
            (0.05, self.nothing),
        ]
        weights = [weight for weight, _ in acts]
        while not self.weather.over:
            self.resting = not self.weather.open
            if not self.resting:
                act = self.rolled.choices(acts, weights)[0][1]
                self._act(act)
            time.sleep(self.rolled.expovariate(self.rate) if self.weather.open else 0.05)

    def _act(self, act: Callable[[], str]) -> None:
        began, before = time.monotonic(), self.weather.calm
        kind = act.__name__
        self._count = 0
        try:
            with self.member.station.namespace.entered():
                self.tally.add(kind, act(), self._count)
        except (OSError, http.client.HTTPException, Trouble) as why:
            calm = before and self.weather.calm and began >= self.weather.since
            full = calm and isinstance(why, Full)
            self.tally.add(kind, NO_ROOM if full else "refused or broken off", self._count)
            if calm and not full:
                self.tally.failed_in_calm(f"{self.member.id}: {kind}: {why!r}")
        except Exception as why:
            self.tally.wrong(f"{self.member.id}: {kind}: {why!r}")

    # What it does; each returns how it ended.

    def pull(self) -> str:
        """All of an image, as runtimes do."""
        of = self.shelf.choose(self.rolled)
        with self._ask(f"/v2/{of.name}/manifests/{of.tag}", "HEAD") as answer:
            digest = answer.headers["Docker-Content-Digest"]
        if digest != of.digest:
            self.tally.wrong_body(f"{of.reference} is {digest}, and never was")
        body = self._whole(f"/v2/{of.name}/manifests/{digest}")
        if body != of.manifest.body:
            self.tally.wrong_body(f"the manifest {digest}")
        for blob in of.manifest.blobs:
            body = self._whole(f"/v2/{of.name}/blobs/{blob.digest}")
            if f"sha256:{hashlib.sha256(body).hexdigest()}" != blob.digest:
                self.tally.wrong_body(f"{self.member.id}: {blob.digest}")
        return "whole"

    def ranged(self) -> str:
        """A closed range, an open one or a suffix of a blob."""
        of = self.shelf.choose(self.rolled)
        blob = max(of.manifest.blobs, key=lambda one: one.size)
        wanted = self.shelf.bytes_of(blob)
        first = self.rolled.randrange(blob.size)
        last = min(blob.size - 1, first + self.rolled.randrange(1 << 20))
        kind = self.rolled.choice(("closed", "open", "suffix"))
        text = {"closed": f"{first}-{last}", "open": f"{first}-", "suffix": f"-{last - first + 1}"}
        at = {
            "closed": slice(first, last + 1),
            "open": slice(first, None),
            "suffix": slice(blob.size - (last - first + 1), None),
        }
        with self._ask(
            f"/v2/{of.name}/blobs/{blob.digest}", range_=f"bytes={text[kind]}"
        ) as answer:
            if answer.status != 206:
                raise Trouble(f"{answer.status} for a range")
            body = self._read(answer)
        if wanted is not None and body != wanted[at[kind]]:
            self.tally.wrong_body(f"{self.member.id}: {text[kind]} of {blob.digest}")
        return "a range"

    def hang_up(self) -> str:
        """In the middle of a body: with a FIN, or with a RST."""
        of = self.shelf.choose(self.rolled)
        blob = max(of.manifest.blobs, key=lambda one: one.size)
        with self._ask(f"/v2/{of.name}/blobs/{blob.digest}") as answer:
            answer.read(self.rolled.randrange(blob.size))
            if self.rolled.random() < 0.5 and self._connection.sock is not None:
                self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return "hung up"

    def moving_tag(self) -> str:
        """Whatever it means now, it is something that it meant once."""
        body = self._whole(f"/v2/{self.shelf.moving}/manifests/latest")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if digest not in self.shelf.tags:
            self.tally.wrong_body(f"{self.member.id}: the moving tag is {digest}, and never was")
        return "whole"

    def listing(self) -> str:
        of = self.rolled.choice(self.shelf.hot)
        if of.tag not in json.loads(self._whole(f"/v2/{of.name}/tags/list"))["tags"]:
            self.tally.wrong(f"{of.reference} is not in its own list")
        return "whole"

    def nothing(self) -> str:
        """A blob that is nowhere."""
        digest = hashlib.sha256(self.rolled.randbytes(8)).hexdigest()
        path = f"/v2/{self.rolled.choice(self.shelf.hot).name}/blobs/sha256:{digest}"
        with contextlib.suppress(Trouble), self._ask(path) as answer:
            self.tally.wrong(f"{answer.status} for a blob that is nowhere")
        return "404"

    # How it asks.

    @contextlib.contextmanager
    def _ask(
        self, path: str, method: str = "GET", range_: str = ""
    ) -> Iterator[http.client.HTTPResponse]:
        self._connection = http.client.HTTPConnection("127.0.0.1", MIRROR_PORT, timeout=PATIENCE)
        headers = {"Accept": ACCEPT, "User-Agent": "soak", **({"Range": range_} if range_ else {})}
        try:
            self._connection.request(method, f"{path}?ns=docker.io", headers=headers)
            answer = self._connection.getresponse()
            if answer.status not in {200, 206}:
                raise refusal(answer.status, path, answer.read(2000), ranged=bool(range_))
            yield answer
        finally:
            self._connection.close()

    def _whole(self, path: str) -> bytes:
        with self._ask(path) as answer:
            return self._read(answer)

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        parts = []
        while part := answer.read(CHUNK):
            parts.append(part)
            self._count += len(part)
        if answer.length:
            raise Trouble(f"broken off, {answer.length} bytes before its end")
        return b"".join(parts)
