"""Orders over the control socket while a node is about to be killed: imports, purges and pins.

What an order has said is done has to be there after the kill. What it was at when the node
died may be there or not, and never in part.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import random
import shutil
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.threads import deferToThread

from nodecache.cli.client import Control
from nodecache.cli.commands import EXIT_UNREACHABLE
from nodecache.cli.problems import CommandError
from tests.archive_kit import Made, layout, made, name_of, saved, sha, tarred, unpacked
from tests.fakes_client import Got

#: Upstream knows none of it: only an import can have brought it.
IMPORTED: Final = "library/imported"
TAGS: Final = ("a", "b", "c")
#: Bytes of the files of an image; of all that is pinned at a time little next to the cap.
SIZES: Final = (1_000, 30_000, 300_000, 900_000)
#: Seconds of silence of the socket, on a busy machine.
SILENCE: Final = 120.0
#: Purges, pins and their ends for so many imports.
VERBS: Final = ("import", "import", "import", "import", "purge", "pin", "unpin", "verify")

Ask = Callable[[str], Awaitable[Got]]


@attrs.define
class OrdersTally:
    """``cut``: orders that the kill ended."""

    done: dict[str, int] = attrs.Factory(dict)
    cut: int = 0
    refused: int = 0
    #: Images whose import was done before a kill, and which were served whole after it.
    kept: int = 0


class Orders:
    """``give`` orders to the node of ``data_dir`` until it is dead; ``check`` what stands."""

    def __init__(self, data_dir: pathlib.Path, folder: pathlib.Path, chance: random.Random) -> None:
        self._socket = str(data_dir / "control.sock")
        self._folder = folder
        self._random = chance
        self.tally = OrdersTally()
        self._serial = 0
        #: Digests of configs that a tag may mean, and the images by these.
        self._ever: dict[str, set[str]] = {tag: set() for tag in TAGS}
        self._made: dict[str, Made] = {}
        #: What a tag means for sure, None for nothing; absent while nobody can know.
        self._stands: dict[str, str | None] = {}
        self._busy: set[str] = set()
        self._unpins = 0

    @property
    def done(self) -> int:
        """Orders that were carried out."""
        return sum(self.tally.done.values())

    async def give(self, patterns: list[str]) -> None:
        """One order after the other until nobody takes them; pins are of ``patterns`` as well."""
        while True:
            verb = self._random.choice(VERBS)
            free = [tag for tag in TAGS if tag not in self._busy]
            if verb in ("import", "purge") and free:
                going_on = await self._change(verb, self._random.choice(free))
            else:
                images = [self._random.choice(patterns)]
                going_on = await self._run("pin" if verb == "import" else verb, images=images)
            if not going_on:
                return

    async def _change(self, verb: str, tag: str) -> bool:
        self._busy.add(tag)
        self._stands.pop(tag, None)
        refused, unpins = self.tally.refused, self._unpins
        try:
            if verb == "purge":
                means = None
                name = f"docker.io/{IMPORTED}:{tag}"
                going_on = await self._run(verb, images=[name], pinned=True)
            else:
                means, path = self._archive(tag)
                going_on = await self._run(verb, path=str(path))
        finally:
            self._busy.discard(tag)
        # An import is kept by its pin, and an unpin beside it may have come later.
        if going_on and (self.tally.refused, self._unpins) == (refused, unpins):
            self._stands[tag] = means
        return going_on

    async def _run(self, verb: str, **document: Any) -> bool:
        """Whether the node still takes orders. Another order than asked for may be refused."""
        control = Control(self._socket, SILENCE)
        if verb == "unpin":
            self._unpins += 1
            self._stands.clear()
        try:
            await deferToThread(control.done, verb, document)
        except CommandError as error:
            if error.exit_code == EXIT_UNREACHABLE:
                self.tally.cut += 1
                return False
            self.tally.refused += 1
            return True
        self.tally.done[verb] = self.tally.done.get(verb, 0) + 1
        return True

    def _archive(self, tag: str) -> tuple[str, pathlib.Path]:
        """A new image in any of the forms, or one that was imported before, anew."""
        self._serial += 1
        name = f"{IMPORTED}:{tag}"
        if self._made and self._random.random() < 0.3:
            image = self._random.choice([*self._made.values()][-6:])
        else:
            sizes = self._random.sample(SIZES, 2)
            image = made([self._random.randbytes(size) for size in sizes])
        means = sha(image.config)
        self._ever[tag].add(means)
        self._made[means] = image
        shutil.rmtree(self._folder / f"{self._serial - 12}", ignore_errors=True)
        folder = self._folder / f"{self._serial}"
        folder.mkdir(parents=True)
        return means, self._written(folder, image, name)

    def _written(self, folder: pathlib.Path, image: Made, name: str) -> pathlib.Path:
        form = self._random.choice(("tar", "gzip", "folder", "saved"))
        files = layout((image, name_of(f"docker.io/{name}")))
        if form == "folder":
            return unpacked(folder, files)
        path = folder / "archive"
        archive = tarred(saved(image, name) if form == "saved" else files)
        path.write_bytes(gzip.compress(archive, 1) if form == "gzip" else archive)
        return path

    # After the start

    def forget(self) -> None:
        """Something was damaged: nobody can know what is left."""
        self._stands.clear()

    async def check(self, ask: Ask, wrong: Callable[[str], None]) -> None:
        """Ask for everything that was ever imported, and for all of what has to be there."""
        for tag in TAGS:
            got = await ask(f"manifests/{tag}")
            means = self._meaning(tag, got, wrong)
            if tag not in self._stands:
                continue
            if means != self._stands[tag]:
                wrong(f"{tag} is {means}, and {self._stands[tag]} was imported: {got.status}")
            elif means is not None:
                await self._check_whole(got, ask, wrong)

    def _meaning(self, tag: str, got: Got, wrong: Callable[[str], None]) -> str | None:
        """The digest of the config of what ``tag`` is answered with; None without an image."""
        if got.status != 200 or got.broken is not None:
            return None
        if got.header("Docker-Content-Digest") != sha(got.body):
            wrong(f"the imported manifest of {tag} has the digest of another")
        means = str(json.loads(got.body)["config"]["digest"])
        if means not in self._ever[tag]:
            wrong(f"an image that was never imported as {tag}")
        return means

    async def _check_whole(self, manifest: Got, ask: Ask, wrong: Callable[[str], None]) -> None:
        document: Mapping[str, Any] = json.loads(manifest.body)
        parts = [document["config"], *document["layers"]]
        for digest in [str(part["digest"]) for part in parts]:
            got = await ask(f"blobs/{digest}")
            found = f"sha256:{hashlib.sha256(got.body).hexdigest()}"
            if got.status != 200 or got.broken is not None or found != digest:
                wrong(f"{digest} of an imported image is not whole: {got.status} {got.broken}")
        self.tally.kept += 1
