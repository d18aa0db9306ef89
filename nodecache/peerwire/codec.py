"""Everything on the wire as bytes, in one place: questions, answers and documents."""

from nodecache.peerwire.answering import (
    Encoded,
    decode_blob_answer,
    decode_manifest_answer,
    encode_answer,
)
from nodecache.peerwire.asking import (
    BLOB,
    HELLO,
    MANIFEST,
    STATUS,
    SUSPECT,
    WARM,
    decode_blob,
    decode_manifest,
    encode_blob,
    encode_manifest,
)
from nodecache.peerwire.documents import (
    decode_hello,
    decode_object,
    decode_suspect,
    decode_warm,
    encode_document,
    encode_hello,
    encode_object,
    encode_suspect,
    encode_warm,
)
from nodecache.peerwire.fields import WireFault, fields_of

__all__ = [
    "BLOB",
    "HELLO",
    "MANIFEST",
    "STATUS",
    "SUSPECT",
    "WARM",
    "Encoded",
    "WireFault",
    "decode_blob",
    "decode_blob_answer",
    "decode_hello",
    "decode_manifest",
    "decode_manifest_answer",
    "decode_object",
    "decode_suspect",
    "decode_warm",
    "encode_answer",
    "encode_blob",
    "encode_document",
    "encode_hello",
    "encode_manifest",
    "encode_object",
    "encode_suspect",
    "encode_warm",
    "fields_of",
]
