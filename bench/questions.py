"""What one question of a peer costs: a real peer port on the loopback, asked by thousands.

The port runs in a process of its own, with real admission, signatures and
metrics; only the cache behind it is a double. Each question comes over a
connection of its own and all are sent at once, as when a cluster starts. Most
are answered 503, with a referral, or 404: the answers that a herd gets.

    python -m bench.questions [--count 1000]

Printed is processor time by the question (the figure of bench/simulate.py),
and when the median and the last answer came.
"""

from __future__ import annotations

import argparse
import itertools
import os
import selectors
import socket
import subprocess
import sys
import time
from typing import Any, cast

import attrs
from twisted.internet import reactor as _reactor

from nodecache.admission import Admission
from nodecache.byteranges import Span
from nodecache.limits import Limits, Timeouts
from nodecache.metrics import Metrics
from nodecache.peerwire.codec import encode_blob
from nodecache.peerwire.questions import BlobQuestion, Mode
from nodecache.peerwire.signing import Asked, sign
from nodecache.reference import Digest, Repository
from nodecache.web import LISTEN_BACKLOG, PeerSite
from tests.fakes_disk import InlinePool
from tests.fakes_peer_registry import FakePeerRegistry
from tests.fakes_registry import FakeBlob
from tests.loopback import request
from tests.peer_case import ME, SECRET, FakeMembers

reactor = cast(Any, _reactor)

DATA = b"x" * 1024
HERE = Digest("sha256", "ab" * 32)
NOT_HERE = Digest("sha256", "cd" * 32)
IMAGE = Repository("docker.io", "library/alpine")
_nonces = itertools.count(1)


def serve() -> None:
    """In the child: all places for the blob are taken, so that askers are referred."""
    limits = attrs.evolve(Limits(), peer_clients=50_000, peer_clients_per_address=50_000)
    registry, members, admission = FakePeerRegistry(), FakeMembers(), Admission(limits)
    registry.blobs[HERE] = FakeBlob(DATA)
    registry.has.add(HERE)
    for number in range(200):
        members.know(f"n{number}")
        admission.ask(f"{HERE}/0", f"n{number}", reactor.seconds())
    site = PeerSite(
        registry,
        admission,
        members,
        me=ME,
        secrets=lambda: (SECRET,),
        clock=reactor,
        pool=InlinePool(),
        observe=Metrics().observe,
        wall=time.time,
        # All questions are signed before the first is sent, and a busy machine takes its time.
        timeouts=Timeouts(peer_window=3600.0),
        limits=limits,
        status=dict,
    )
    port = reactor.listenTCP(0, site, backlog=LISTEN_BACKLOG, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def asking(digest: Digest, node: str) -> bytes:
    span = Span(0, len(DATA))
    target, headers = encode_blob(BlobQuestion(IMAGE, digest, span, Mode.ONLY_IF_HAVE, 6.0))
    asked = Asked("GET", target, node, ME, headers["Range"], b"")
    signature = sign(asked, SECRET, int(time.time() * 1000), f"{next(_nonces):032x}")
    named = {"Nodecache-Peer": node, "Nodecache-To": ME, "Nodecache-Wire": "1"}
    return request(target, "GET", {**named, "Nodecache-Signature": signature, **headers})


def processor(pid: int) -> float:
    """Seconds that it has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def herd(port: int, questions: list[bytes]) -> list[float]:
    """All at once; when each was answered, in seconds from the start. Raises OSError."""
    began, answered = time.perf_counter(), []
    with selectors.DefaultSelector() as waiting:
        for question in questions:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(question)
            waiting.register(connection, selectors.EVENT_READ)
        while waiting.get_map():
            for key, _ in waiting.select(30):
                connection = cast(socket.socket, key.fileobj)
                answer = connection.recv(65536)
                if not answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 404")):
                    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
                    raise OSError(f"not an answer that is measured: {head or 'none at all'}")
                answered.append(time.perf_counter() - began)
                waiting.unregister(connection)
                connection.close()
    return answered


def measure(count: int) -> None:
    command = [sys.executable, "-m", "bench.questions", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            for name, digest in (("503", HERE), ("404", NOT_HERE)):
                questions = [asking(digest, f"n{number}") for number in range(count)]
                before = processor(child.pid)
                answered = herd(port, questions)
                cost = (processor(child.pid) - before) / count * 1000
                median, last = answered[count // 2], answered[-1]
                print(f"{count:>6} {name:>6} {cost:>8.2f} ms {median:>7.2f} s {last:>7.2f} s")
        finally:
            child.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--count", default="1000", help="numbers of questions, with commas")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    print(f"{'asked':>6} {'answer':>6} {'each':>11} {'median':>9} {'last':>9}")
    for count in options.count.split(","):
        measure(int(count))


if __name__ == "__main__":
    main()
