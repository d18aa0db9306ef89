"""Each command in a terminal; those that last, interrupted in the middle; and who reads no more."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
from collections.abc import Callable, Iterator

import attrs
import pytest

from nodecache.cli.commands import COMMANDS
from tests.system.conftest import Shop
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image
from tests.system.parts.processes import until
from tests.system.parts.town import NODECACHE, Town, town_of
from tests.system.parts.zoo import quarter_gib
from tests.system.test_command_line import SCENES


@attrs.frozen
class Harbour:
    """A town with an image that takes a while, and an archive of it."""

    town: Town
    big: Image
    folder: pathlib.Path

    @property
    def archive(self) -> str:
        return str(self.folder / "big.tar")

    @property
    def scratch(self) -> list[pathlib.Path]:
        return list((self.town.node.data_dir / "v1" / "tmp").iterdir())

    def counted(self) -> bool:
        """Whether the node's metric has heard of all blobs that are on its disk."""
        blobs = (self.town.node.data_dir / "v1" / "blobs").rglob("*")
        count = sum(path.is_file() for path in blobs)
        return self.town.node.metric("nodecache_cache_blobs") == count

    def names(self) -> list[str]:
        listed = json.loads(self.town.node.admin("/api/v1/images").body)
        return [row["name"] for row in listed["images"]]

    def here(self) -> None:
        """The image is here."""
        if self.name not in self.names():
            self.do("pull", self.name)

    def away(self) -> None:
        if self.name in self.names():
            self.do("purge", self.name, "--pinned", "--yes")

    def packed(self) -> None:
        """It is in an archive, and not here."""
        if not os.path.exists(self.archive):
            self.here()
            self.do("export", self.name, "-o", self.archive)
        self.away()

    @property
    def name(self) -> str:
        """Of the image, as a person types it."""
        return f"{self.big.name.removeprefix('library/')}:{self.big.tag}"

    def do(self, *words: str) -> None:
        done = self.town.pipe(*words)
        assert done.returncode == 0, done

    def typed(self, words: str) -> list[str]:
        given = {
            "BIG": self.name,
            "ARCHIVE": self.archive,
            "FOLDER": str(self.folder),
            "MIRROR": f"127.0.0.1:{self.town.node.port}",
        }
        found = [given.get(word, word) for word in words.split()]
        inner = ("FOLDER", "MIRROR")
        for name in inner:
            found = [word.replace(name, given[name]) for word in found]
        return found


@pytest.fixture(scope="module")
def the_harbour(world: pathlib.Path, the_hub: Hub, shop: Shop) -> Iterator[Harbour]:
    with town_of(world / "harbour", the_hub, shop) as town:
        yield Harbour(town, shop.once(quarter_gib), world / "harbour")


@pytest.fixture
def harbour(the_harbour: Harbour, hub: Hub) -> Harbour:
    del hub  # as usual
    the_harbour.town.as_usual()
    until(the_harbour.counted, "what was just pulled is counted")
    return the_harbour


# In a terminal.


def test_every_command_has_a_screen_in_the_document() -> None:
    shown = {words[0] for _, words in SCENES}
    assert {entry.name for entry in COMMANDS} <= shown


# Interrupted.


def nothing(harbour: Harbour) -> None:
    """Needs no more than what is here as usual."""


@attrs.frozen
class Lasting:
    """``words`` are typed; once ``seen`` is on the screen the node is frozen, so that it is in
    the middle (with nothing to be seen: from the start), and Ctrl-C is typed.
    """

    words: str
    seen: str
    before: Callable[[Harbour], None]


LASTING = {
    "pull": Lasting("pull BIG", "total", Harbour.away),
    "verify": Lasting("verify", "reading", Harbour.here),
    "purge": Lasting("purge BIG --yes", "", Harbour.here),
    "refresh": Lasting("refresh nginx redis", "", nothing),
    "export": Lasting("export BIG -o FOLDER/new.tar", "exporting", Harbour.here),
    "import": Lasting("import ARCHIVE", "importing", Harbour.packed),
    "bench": Lasting("bench --mirror MIRROR", "Measuring", nothing),
    "status": Lasting("status --cluster", "", nothing),
    "doctor": Lasting("doctor --runtime podman --mirror http://MIRROR", "", nothing),
}


@pytest.mark.parametrize("name", LASTING)
def test_ctrl_c_in_the_middle_is_130_and_leaves_nothing_half_done(
    harbour: Harbour, name: str
) -> None:
    lasting, node = LASTING[name], harbour.town.node
    lasting.before(harbour)
    names, blobs = harbour.names(), node.metric("nodecache_cache_blobs")
    if not lasting.seen:
        node.process.signal(signal.SIGSTOP)
    try:
        with harbour.town.terminal(*harbour.typed(lasting.words)) as terminal:
            if lasting.seen:
                terminal.until(lambda text: lasting.seen in text, lasting.seen)
                node.process.signal(signal.SIGSTOP)
            else:
                until(lambda: speaks(terminal.process.pid), "it has given its order")
            terminal.type("\x03")
            assert terminal.end() == 130, terminal.screen
    finally:
        node.process.signal(signal.SIGCONT)
    assert terminal.screen.splitlines()[-1].removeprefix("^C") == "nodecache: interrupted"
    until(lambda: not harbour.scratch, "nothing is left in the data folder")
    assert not list(harbour.folder.glob("new.tar*"))
    if name == "pull":  # what was begun goes on, and the next pull finds it
        harbour.do("pull", harbour.name)
        names, blobs = sorted({*names, harbour.name}), blobs + len(harbour.big.platform().blobs)
    until(lambda: sorted(harbour.names()) == sorted(names), "all images are as they were")
    until(lambda: node.metric("nodecache_cache_blobs") == blobs, "all blobs are as they were")


def test_after_all_of_that_everything_is_good(harbour: Harbour) -> None:
    assert "all good" in harbour.town.pipe("verify").stdout


def speaks(pid: int) -> bool:
    """Whether a process has a socket open: that to the node, which is frozen."""
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor).startswith("socket:"):
                return True
    return False


# Whoever reads it is gone.

READERS = (
    "status --cluster",
    "list",
    "show nginx",
    "config --running",
    "verify --json",
    "pull nginx --json",
    "refresh nginx",
    "log-level",
    "export redis:7 -o -",
)


@pytest.mark.parametrize("words", READERS)
def test_who_reads_no_more_hears_no_traceback(harbour: Harbour, words: str) -> None:
    """As of ``nodecache list | head -1``, once head has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*NODECACHE, *harbour.typed(words)],
            env={**os.environ, **harbour.town.env},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    until(lambda: not harbour.scratch, "nothing is left in the data folder")
