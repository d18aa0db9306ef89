"""What a row is given to measure with: folders, images, servers that end with it."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence

import attrs

from bench import scan
from bench.parts.clocks import settled
from bench.parts.ground import Ground, Grounds, loopback
from bench.parts.load import pull
from bench.parts.origin import Origin, Shelf, origin
from bench.parts.peers import Cache, Maker
from tests.system.parts.certificates import Identity
from tests.system.parts.images import Blob, Image, huge_layer, image
from tests.system.parts.processes import Child, MissingPart

MIB = 1 << 20
GIB = 1 << 30


@attrs.define
class World:
    """``quick`` is for seeing that all of it works; ``missing`` fills with what is not here."""

    folder: pathlib.Path
    quick: bool = False
    children: list[Child] = attrs.Factory(list)
    missing: dict[str, str] = attrs.Factory(dict)
    _count: Iterator[int] = attrs.Factory(itertools.count)
    _notes: list[str] = attrs.Factory(list)
    _images: dict[int, Image] = attrs.Factory(dict)
    _sparse: dict[int, Blob] = attrs.Factory(dict)
    _filled: dict[int, pathlib.Path] = attrs.Factory(dict)
    _shelf: Shelf | None = None

    def pick(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def place(self, name: str) -> pathlib.Path:
        """A folder that is not there yet."""
        return self.folder / f"{name}-{next(self._count)}"

    @property
    def shelf(self) -> Shelf:
        """Images that several rows use."""
        if self._shelf is None:
            self._shelf = Shelf(self.place("shelf"))
        return self._shelf

    def image(self, mib: int) -> Image:
        """One layer of this size, the same for all rows."""
        if mib not in self._images:
            made = image([huge_layer(mib * MIB, mib)])
            self._images[mib] = self.shelf.add(f"library/mib-{mib}", made)
        return self._images[mib]

    def sparse(self, mib: int) -> Blob:
        """A blob of zeros, which takes no room on the disk of upstream."""
        if mib not in self._sparse:
            self._sparse[mib] = self.shelf.sparse(mib * MIB)
        return self._sparse[mib]

    def filled(self, count: int) -> pathlib.Path:
        """A data folder with so many sparse blobs, or a few more."""
        if count not in self._filled:
            folder = self.place("filled")
            folder.mkdir()
            scan.make(str(folder), count)
            os.sync()  # or the first start waits for the disk to write what this made
            self._filled[count] = folder
        return self._filled[count]

    def note(self, words: str) -> None:
        """Say with the row what its figures do not tell."""
        self._notes.append(words)

    def take_notes(self) -> tuple[str, ...]:
        notes, self._notes = tuple(self._notes), []
        return notes

    @contextlib.contextmanager
    def upstream(
        self,
        shelf: Shelf | None = None,
        *,
        ground: Ground | None = None,
        rate: int = 0,
        identity: Identity | None = None,
    ) -> Iterator[Origin]:
        """An origin that runs; ``rate`` is bytes a second for each connection."""
        folder, host = self.place("origin"), ground.host if ground else "127.0.0.2"
        with ground.upstream() if ground else contextlib.nullcontext():
            made = origin(folder, shelf or self.shelf, host=host, rate=rate, identity=identity)
            made.part.start()
        self.children.append(made.child)
        try:
            yield made
        finally:
            made.part.stop()
            self.children.remove(made.child)

    def ground(self, make: Grounds = loopback) -> contextlib.AbstractContextManager[Ground]:
        return make(self.place("ground"))

    @contextlib.contextmanager
    def empty(self, make: Maker, upstream: str) -> Iterator[Cache]:
        """A cache that has nothing yet, started; gone in the end."""
        here = pathlib.Path(tempfile.mkdtemp(prefix="cache-", dir=self.folder))
        cache = make(here, upstream)
        # What the one before wrote and removed, and did not sync, is not this one's to wait for.
        os.sync()
        try:
            cache.start()
            self.children.append(cache.child)
            yield cache
        finally:
            cache.stop()
            if cache.part.child in self.children:
                self.children.remove(cache.child)
            shutil.rmtree(here)

    @contextlib.contextmanager
    def serving(self, make: Maker, upstream: str) -> Iterator[Cache]:
        """As ``empty``, but it has served a blob of 1 MiB before, and rests."""
        of = self.image(1)
        with self.empty(make, upstream) as cache:
            warm_up(cache, of)
            yield cache

    @contextlib.contextmanager
    def all_empty(self, makers: Sequence[Maker], upstream: str) -> Iterator[dict[str, Cache]]:
        """Those that can be had, by name."""
        with contextlib.ExitStack() as stack:
            caches = {}
            for make in self.here(makers, upstream):
                cache = stack.enter_context(self.empty(make, upstream))
                caches[cache.name] = cache
            yield caches

    def here(self, makers: Sequence[Maker], upstream: str) -> list[Maker]:
        """Those that can be started here; the others are noted as missing."""
        found = []
        for make in makers:
            name = make.__name__
            if name in self.missing:
                continue
            try:
                if name == "drayage":  # the only one that no row needs
                    with self.empty(make, upstream):
                        pass
            except (MissingPart, AssertionError) as why:
                self.missing[name] = str(why)
            else:
                found.append(make)
        return found


def layer(of: Image) -> Blob:
    return of.manifest.blobs[1]


def blob_url(server: Cache | Origin, of: Image) -> str:
    return f"{server.url}/v2/{of.name}/blobs/{layer(of).digest}"


def url_of(server: Cache | Origin, blob: Blob) -> str:
    """Of a blob that no image names; upstream gives it under any."""
    return f"{server.url}/v2/library/blobs/blobs/{blob.digest}"


def warm_up(cache: Cache, of: Image) -> None:
    """Fetch the layer once, with its digest checked, and let the cache come to rest."""
    (got,) = pull([blob_url(cache, of)], checked=True)
    assert got.size == layer(of).size
    settled(cache.child, cache.file_of(layer(of).digest))
