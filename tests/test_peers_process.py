"""The lying peer as a process of its own, as tests of whole nodes start it."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodecache.failures import PeerKind
from nodecache.membership import Address, Peer
from tests.fakes_peer import SECRET
from tests.peers_kit import BLOB, PeersCase

ROOT = pathlib.Path(__file__).parent.parent


class ProcessTests(PeersCase):
    async def start_process(self, *arguments: str) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        here = pathlib.Path(folder.name)
        (here / "secret").write_bytes(SECRET)
        (here / "blobs").mkdir()
        (here / "blobs" / "one").write_bytes(BLOB)
        command = [sys.executable, "-m", "tests.fakes_peer", "--port", "0", "--id", "child"]
        command += ["--secret-file", str(here / "secret"), "--blob-dir", str(here / "blobs")]
        child = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.addCleanup(self.end, child)
        assert child.stdout is not None
        reading: Deferred[str] = deferToThread(child.stdout.readline)
        line = await reading
        self.peer = Peer("child", (Address.parse(line.split()[-1]),))
        self.meet(self.peer)

    def end(self, child: subprocess.Popen[Any]) -> None:
        child.terminate()
        child.communicate(timeout=10)

    async def test_it_serves_the_files_of_a_folder_and_lies_as_it_is_told(self) -> None:
        await self.start_process("--fault", "wrong-sum", "--what", "blob", "--times", "1")
        self.assertEqual((await self.failure()).problem, PeerKind.CORRUPT)
        self.assertTrue(await self.read() == BLOB)
        self.assertEqual((await self.peers.hello(self.peer.addresses[0])).id, "child")
