"""A client that reads when it is told to, and knows the digest of what it read."""

from __future__ import annotations

import hashlib
import http.client

from tests.system.parts.node import Node

MIB = 1 << 20


class Reader:
    """One GET whose headers are in."""

    def __init__(self, node: Node, path: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        self.connection.request("GET", path)
        self.answer = self.connection.getresponse()
        self.hash = hashlib.sha256()

    def read(self, size: int) -> None:
        """The next ``size`` bytes, as soon as they are there."""
        data = self.answer.read(size)
        assert len(data) == size
        self.hash.update(data)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def rest(self) -> str:
        """Read to the end; the digest of all. IncompleteRead where the body breaks off."""
        try:
            while data := self.answer.read(MIB):
                self.hash.update(data)
            left = self.answer.length
        finally:
            self.close()
        if left:
            raise http.client.IncompleteRead(b"", left)
        return f"sha256:{self.hash.hexdigest()}"
