"""What a client may name: repositories, tags, digests, request paths and queries.

Everything that a client sends and that later becomes a file name or an
upstream URL passes through here, and comes out as a value that can hold only
well-formed text.
"""

from nodecache.reference.images import (
    LATEST,
    Image,
    Pattern,
    familiar,
    is_pattern,
    nearest,
    parse_image,
)
from nodecache.reference.names import (
    DOCKER_HUB,
    Digest,
    Reference,
    Repository,
    Tag,
    canonical_namespace,
    is_namespace,
    parse_name,
    parse_reference,
    repository,
)
from nodecache.reference.paths import (
    BasePath,
    BlobPath,
    ManifestPath,
    ReferrersPath,
    RegistryPath,
    TagsPath,
    parse_path,
)
from nodecache.reference.queries import Query, parse_query

__all__ = [
    "DOCKER_HUB",
    "LATEST",
    "BasePath",
    "BlobPath",
    "Digest",
    "Image",
    "ManifestPath",
    "Pattern",
    "Query",
    "Reference",
    "ReferrersPath",
    "RegistryPath",
    "Repository",
    "Tag",
    "TagsPath",
    "canonical_namespace",
    "familiar",
    "is_namespace",
    "is_pattern",
    "nearest",
    "parse_image",
    "parse_name",
    "parse_path",
    "parse_query",
    "parse_reference",
    "repository",
]
