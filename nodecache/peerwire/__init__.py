"""What peers say to each other, as values and as bytes: version 1 of the wire.

Theory of operation
===================

HTTP/1.1 without TLS, connections kept. ``asking`` makes requests of questions,
``answering`` statuses and headers of answers, ``documents`` JSON; ``codec`` is
all three. What a blob's body is made of is in ``frames``, who may ask in
``signing``, single values in ``fields``. Nothing here does input or output.

**Requests.** ``GET`` and ``HEAD /peer/v1/blob?ns=&name=&digest=&mode=&left=``
(and ``&size=``, ``&verified=1``, ``&owner=1``, ``&wait=``) with a closed
``Range`` within one segment; ``GET
/peer/v1/manifest?ns=&name=&ref=&mode=&left=`` (and ``&youth=``, ``&owner=1``),
``HEAD`` for what a tag means; what else stands in a query is left alone, so
that releases may differ in it. ``POST /peer/v1/hello``, ``suspect`` and ``warm`` with JSON; ``GET
/peer/v1/status``. A HEAD of a blob begins nothing. All times are milliseconds.
Each request says who asks (``Nodecache-Peer``), whom (``Nodecache-To``: a node
id, or the address where the id is not known yet), in which version
(``Nodecache-Wire``), and is signed over all of it (``Nodecache-Signature``).

**Refused before it is read further**, by status: 426 another wire version,
with ``Nodecache-Wire``; 401 a signature that none of our secrets made, one
seen before, or one for another time, then with ``Nodecache-Time``, so that an
asker whose clock is off signs once more by ours. These carry no proof, as the
asker is a stranger. 421: for another node. A signed question that can not be
read: 400.

**Answers** carry ``Nodecache-Peer``, ``Nodecache-Wire``, ``Nodecache-Answer``
(a word; it belongs to one status), what the answer needs, and
``Nodecache-Proof`` over all of these, the status, the request's signature and
the body. Without the proof, whoever got a dead peer's address could say what a
tag means.

**A blob's body** is chunked, and made of frames: a byte for the kind, four for
the length, the payload. DATA is followed by SUM, the CRC-32 of what came since
the last SUM, at each multiple of CHECKSUM_BLOCK in the blob and at the end of
the span (and sooner, when the sender has to wait for more). Whoever receives
gives bytes on only once their sum was right. ALIVE says that the sender waits
for upstream. END, the CRC-32 of all sums, ends a whole body; FAIL, JSON with
kind and message, any other. The body is as long as the question's span, or to
the end of the blob (``Nodecache-Total``), whichever is less; anything else is
a lie, or a cut.

**Versions.** A change of anything said here, or of the segments, lanes and
sums of ``limits``, is another WIRE_VERSION.
"""
