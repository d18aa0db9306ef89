"""Sizes of blobs that manifests and upstreams have named, for blobs sent without a length."""

from __future__ import annotations

from collections import OrderedDict

from nodecache.cache.descriptors import Named
from nodecache.reference import Digest


class SizeHints:
    """Bytes by digest, of at most ``most`` blobs; those longest unused go first.

    A hint is what somebody said: good for reserving room and for a length that
    nothing else tells, never a reason to believe that a blob is whole.
    """

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def get(self, digest: Digest) -> int | None:
        return self._sizes.get(digest.hex)

    def learn(self, digest: Digest, size: int) -> None:
        self._sizes[digest.hex] = size
        self._sizes.move_to_end(digest.hex)
        while len(self._sizes) > self._most:
            self._sizes.popitem(last=False)

    def learn_from(self, manifest: Named) -> None:
        for blob in manifest.blobs:
            if blob.size is not None:
                self.learn(blob.digest, blob.size)
