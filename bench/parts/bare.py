"""As little as a cache can do that stores a blob, verifies it, and holds its end back till then.

Theory of operation. Four threads, whose calls all let go of the interpreter: one receives
from upstream; one writes what came to the file; one takes that into the digest and a checksum;
one sends from the file what was written. There is no protocol to speak of, no event loop, no
second client, and nothing is ever broken off, resumed or given up. So what a cold blob takes here
is what the machine has for whoever keeps these promises in Python; a node has more to do.

    python -m bench.parts.bare PORT FOLDER UPSTREAM-PORT UPSTREAM-HOST
"""

from __future__ import annotations

import os
import pathlib
import queue
import re
import socket
import sys
import threading
from hashlib import sha256
from typing import Final

from nodecache.crc import crc32
from nodecache.limits import KIB

#: Bytes that are read at a time at least, and at most.
LEAST: Final = 256 * KIB
MOST: Final = 512 * KIB
#: Buffers between upstream and the disk.
BUFFERS: Final = 8
#: What is held back until the digest was found right.
HELD: Final = 64 * KIB

Part = tuple[bytearray, int]


class Blob:
    """One on its way: ``size`` bytes, from ``source`` by way of ``file`` to ``client``."""

    def __init__(
        self, size: int, digest: str, source: socket.socket, file: int, client: socket.socket
    ) -> None:
        self._size, self._digest = size, digest
        self._source, self._file, self._client = source, file, client
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._came: queue.SimpleQueue[Part] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[Part] = queue.SimpleQueue()
        self._may_go: queue.SimpleQueue[int] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(bytearray(MOST))

    def pass_on(self) -> None:
        """Returns when the client has all of it. Raises nothing: a thread that fails ends all."""
        others = (self._write, self._verify, self._send)
        threads = [threading.Thread(target=each) for each in others]
        for thread in threads:
            thread.start()
        self._receive()
        for thread in threads:
            thread.join()

    def _receive(self) -> None:
        got = 0
        while got < self._size:
            buffer, have = self._free.get(), 0
            while have < min(LEAST, self._size - got):
                have += self._source.recv_into(memoryview(buffer)[have:]) or _ended()
            got += have
            self._came.put((buffer, have))

    def _write(self) -> None:
        at = 0
        while at < self._size:
            buffer, size = self._came.get()
            os.pwrite(self._file, memoryview(buffer)[:size], at)
            at += size
            self._written.put((buffer, size))
            self._may_go.put(min(at, max(0, self._size - HELD)))

    def _verify(self) -> None:
        digest, crc, at = sha256(), 0, 0
        while at < self._size:
            buffer, size = self._written.get()
            view = memoryview(buffer)[:size]
            digest.update(view)
            crc = crc32(view, crc)
            at += size
            self._free.put(buffer)
        if digest.hexdigest() != self._digest:
            os._exit(1)
        self._may_go.put(self._size)

    def _send(self) -> None:
        at = 0
        while at < self._size:
            until = self._may_go.get()
            while at < until:
                at += os.sendfile(self._client.fileno(), self._file, at, until - at)


def _ended() -> int:
    print("upstream ended too soon", file=sys.stderr, flush=True)
    os._exit(1)


def _head(line: socket.socket) -> bytes:
    """Up to the empty line, and not a byte of what follows; less where it ends before."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n") and (byte := line.recv(1)):
        head += byte
    return bytes(head)


def serve(client: socket.socket, folder: pathlib.Path, upstream: tuple[str, int]) -> None:
    """One blob by its digest, which upstream is asked for under the same path."""
    asked = re.match(rb"GET (\S+/sha256:([0-9a-f]{64})) ", _head(client))
    if asked is None:
        return  # somebody looks whether there is anybody
    path, digest = asked[1], asked[2].decode()
    with socket.create_connection(upstream) as source:
        source.sendall(b"GET %b HTTP/1.0\r\nHost: upstream\r\n\r\n" % path)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", _head(source))
        assert length, "upstream says no length"
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % length[1])
        with (folder / f"{digest}.part").open("wb+", buffering=0) as file:
            Blob(int(length[1]), digest, source, file.fileno(), client).pass_on()
    (folder / f"{digest}.part").rename(folder / digest)


def main() -> None:
    port, folder, upstream_port, host = sys.argv[1:]
    upstream = (host, int(upstream_port))
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        while True:
            client, _ = listener.accept()
            with client:
                serve(client, pathlib.Path(folder), upstream)


if __name__ == "__main__":
    main()
