"""Images in a file or folder: the OCI image layout, and what ``docker save`` writes.

Reading trusts nothing: names, sizes and counts are bounded, and a blob is
what its digest says or the archive is refused. Calls that read files block,
and belong into disk jobs.
"""

from nodecache.archives.docker import SavedImage, SavedLayer, as_manifest, read_saved
from nodecache.archives.documents import Child, Document, Piece, read_document
from nodecache.archives.faults import BadArchive
from nodecache.archives.oci import Found, read_layout
from nodecache.archives.source import FolderSource, Source, TarSource, is_saved, open_source
from nodecache.archives.tar import Member
from nodecache.archives.writing import Entry, Exported, archive_of

__all__ = [
    "BadArchive",
    "Child",
    "Document",
    "Entry",
    "Exported",
    "FolderSource",
    "Found",
    "Member",
    "Piece",
    "SavedImage",
    "SavedLayer",
    "Source",
    "TarSource",
    "archive_of",
    "as_manifest",
    "is_saved",
    "open_source",
    "read_document",
    "read_layout",
    "read_saved",
]
