"""Whom to ask for what is not here: the peers, in their order, then upstream, then anybody.

Theory of operation
===================

To the cache and its fills this room looks like upstream: ``upstreams`` for
tags and manifests, ``blob`` for the bytes of blobs. It keeps no bytes, and
knows of the peers only what ``ports`` names.

**One segment** (``blob``), for the fill that wants it::

    peers ──── nothing ───> upstream ─── answers ────────────────> body
      │                        │ silent for 2 s, or fails
      │ bytes                  └──> sweep ── somebody has it ────> body
      v                               │
    body                              └── nobody ──> upstream's failure

*Peers*: a ``sourcing.Search`` says whom, ``questions`` asks. Whoever is asked
to fetch acts as owner, and so does this node, while a peer waits for it
(``duties``): it asks others only for what they have, and then upstream. So no
question is passed on. Two nodes with different views may still each take the
other for the owner; a node refuses a segment to whom it waits for (``Asking``),
and both look elsewhere. Where each takes itself for the owner, one waits until
the other has it (``Duties.brings``). Who is no owner may be kept waiting for a
moment by a node that is just getting it. Upstream always has 4 of the 10 seconds of an answer:
what peers can cost is bounded, whatever they do.

*Upstream* (``upstream_leg``) has so many places for the node, and for a fill
(``places``); a place is held until the body has ended, in whatever way
(``watched``).

*Sweep*: all other peers, so many at a time. It runs beside a slow upstream, and
instead of one that is down; the first body ends the other (``race``). A peer
that has answered may still wait for others, and these for this very node, so
that of a sweep only bytes count (``primed``). A fill makes one sweep at a time,
and none for a while when one was in vain; who has one segment is asked first
for the next.

**A body that breaks off** goes back to the fill, which asks again for what is
missing; here it is remembered who broke off, so that another is asked, and
upstream after the third (``findings``, for the life of a fill).

**Wrong bytes** (``suspicions``). Bytes of peers are checked on their way
against checksums of their sender, and all of a blob against its digest. When
that is wrong, the blob is fetched again: from the one node that ranks first
for its repair, which goes upstream alone, so that a cluster that was deceived
pays once; and when that is wrong too, from upstream. Then the copies are
compared, segment by segment, and who sent what differs is put aside and told.

**Offline**, no question may make anybody ask upstream: what is left is the sweep.
"""
