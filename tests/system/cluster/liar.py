"""A peer that lies, in a namespace of its own: it knows the secret and is named in DNS."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator

from nodecache.rendezvous import Roster
from tests.system.cluster.cluster import Cluster
from tests.system.cluster.member import PEER_PORT
from tests.system.cluster.network import Station
from tests.system.parts.images import Blob, Image
from tests.system.parts.processes import Child

_COUNT = itertools.count(1)
_SOURCE = pathlib.Path(__file__).parents[3]


def owner_id(made: Cluster, blob: Blob) -> str:
    """An id that would be the owner of the blob's first lane among the members."""
    ids = [one.id for one in made.members]
    key = f"{blob.digest}/0"
    return next(
        name
        for name in (f"liar-{number}" for number in itertools.count())
        if Roster([*ids, name]).rank(key, 1) == (name,)
    )


@contextlib.contextmanager
def liar(made: Cluster, fault: str, of: Image, what: str = "") -> Iterator[Station]:
    """It has all blobs of the image, and owns the first lane of the last one.

    ``what`` narrows what it lies about: blob, manifest or hello.
    """
    folder = made.folder / f"liar{next(_COUNT)}"
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)
    for blob in of.manifest.blobs:
        (blobs / blob.digest.partition(":")[2]).write_bytes(b"".join(blob.chunks()))
    station = made.station(folder.name)
    argv = [sys.executable, "-m", "tests.fakes_peer", "--port", str(PEER_PORT)]
    argv += ["--interface", station.address, "--id", owner_id(made, of.manifest.blobs[-1])]
    argv += ["--secret-file", str(made.members[0].secret_file), "--blob-dir", str(blobs)]
    argv += ["--fault", fault, *(["--what", what] if what else [])]
    env = {"PYTHONPATH": os.pathsep.join([*sys.path[:1], str(_SOURCE)])}
    try:
        with Child("liar", station.namespace.argv(argv), folder, env=env, cwd=_SOURCE) as child:
            child.ready(lambda: "listening" in child.out.read_text())
            everyone = [one.station.address for one in made.members]
            made.names.publish([*everyone, station.address])
            yield station
    finally:
        station.namespace.delete()
