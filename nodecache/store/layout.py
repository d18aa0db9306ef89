"""Where everything lies in the data folder. Paths only; nothing here touches the disk.

::

    lock                                the process that owns the folder, by flock
    v1/                                 this format; another lives beside it
      running                           marker: written while we run, gone after a clean stop
      tmp/                              not yet renamed; emptied at start
      blobs/sha256/ab/<hex>
      manifests/sha256/ab/<hex>         and <hex>.type, its media type
      tags/<namespace>/<name>/_tags/<tag>.json
      tags/<namespace>/<name>/_listings/<key>
      segments/<hex>/data, journal      blobs not whole

A path is made of parsed values only (``Digest``, ``Repository``, ``Tag``),
none of which can hold a slash or a dot segment where it would matter.
"""

from __future__ import annotations

import hashlib
import os.path

import attrs

from nodecache.reference import Digest, Repository, Tag

#: The folder of the format this release reads and writes.
FORMAT = "v1"


_TAGS = "_tags"
_LISTINGS = "_listings"


def holds_records(folder: str) -> bool:
    """Whether a folder below ``Layout.tags`` is one of tags, or of listings."""
    return os.path.basename(folder) in (_TAGS, _LISTINGS)


@attrs.frozen
class Layout:
    """``root`` is the absolute path of the data folder."""

    root: str

    @property
    def home(self) -> str:
        return os.path.join(self.root, FORMAT)

    @property
    def lock(self) -> str:
        return os.path.join(self.root, "lock")

    @property
    def marker(self) -> str:
        return os.path.join(self.home, "running")

    @property
    def scratch(self) -> str:
        return os.path.join(self.home, "tmp")

    @property
    def blobs(self) -> str:
        return os.path.join(self.home, "blobs", "sha256")

    @property
    def manifests(self) -> str:
        return os.path.join(self.home, "manifests", "sha256")

    @property
    def tags(self) -> str:
        return os.path.join(self.home, "tags")

    @property
    def segments(self) -> str:
        return os.path.join(self.home, "segments")

    @property
    def folders(self) -> tuple[str, ...]:
        """All that are always there, the outer before the inner."""
        return (
            self.home,
            self.scratch,
            self.blobs,
            self.manifests,
            self.tags,
            self.segments,
        )

    def blob(self, digest: Digest) -> str:
        return os.path.join(self.blobs, digest.hex[:2], digest.hex)

    def media_type(self, digest: Digest) -> str:
        """The sidecar of a manifest."""
        return f"{self.manifest(digest)}.type"

    def manifest(self, digest: Digest) -> str:
        return os.path.join(self.manifests, digest.hex[:2], digest.hex)

    def partial(self, digest: Digest) -> str:
        return os.path.join(self.segments, digest.hex)

    def repository(self, repository: Repository) -> str:
        return os.path.join(self.tags, repository.namespace, repository.name)

    def tag_folder(self, repository: Repository) -> str:
        # No component of a name begins with an underscore.
        return os.path.join(self.repository(repository), _TAGS)

    def tag(self, repository: Repository, tag: Tag) -> str:
        return os.path.join(self.tag_folder(repository), f"{tag}.json")

    def listing(self, repository: Repository, key: str) -> str:
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return os.path.join(self.repository(repository), _LISTINGS, name)
