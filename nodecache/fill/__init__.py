"""Fills: each drives one blob in flight from its first question to the store.

Theory of operation
===================

A fill (``fill``) owns a flight and belongs to the cache: no request can cancel
it. It goes through these steps, and every one of them can fail or be stopped::

    line ─> partial ─> room ─> first question ─> bytes ─> digest ─> store

**The first question** (``first``) is for what is missing of segment 0. Its
answer tells the total, and whether ranges are to be had; before it is in,
nothing else is asked, and readers get no headers. What an earlier fill left on
disk counts as received; if that is everything, nobody is asked.

**Bytes** (``course``) come from a *crew* of workers, each with a connection,
and go to a *writer*. Neither knows the other::

      source ─> pour ─> crew ─> writer ─> assembly (a disk job) ─> flight ─> readers
                         │ accepted        │ runs       │           present │
                         └── next segment  │            └─> running (a job beside it)
                                           └── pause, resume ───────────────┘

``accepted`` is what has been received, ``present`` what is on disk; the
difference waits in the writer. A worker asks for the segment that is wanted
most (``segments``: where a reader waits, then in sequence), judges the answer
(``answers``) before it takes a byte, and takes only bytes that are not here
yet. So a parallel fill, a resume with ``Range``, a source that answers 200 to
it, and a restart on a half-full file are one and the same loop. Who the source
is, it does not know (``seams.BlobSource``); ``names`` makes one of all the
names under which the blob was asked.

**One connection or several** (``staff``). A fill begins with one and adds
another only while the last one raised the total rate (``ramp``); where peers
help, it begins with several as soon as the size is known (``Width``), and reads
ahead in an order of its own (``Spreading``). Places are shared out by the node
(``connections``); a fill with several gives one back when another fill waits
for its first.

**Peers** (``lending``). A flight is wanted whole, by clients of this node, or
only in parts, by peers that believe this node to be the one who fetches those
(``demand``). What a peer asks for is fetched by a worker of its own, beside all
others and without waiting in line: two nodes that wait for each other still
serve each other. A flight that only peers asked for asks first for what they
want, takes that and nothing else, has a small share of the disk together with
its like (``share``), and ends, kept on disk, when nobody has asked for a while;
all of it that is whole is verified, but not stored. A client that joins it
makes it a fill like any other. Of a source without ranges it takes everything.

**Breaking off.** A body that ends early or falls silent is asked for again from
its first missing byte, at once, then after growing pauses (``patience``); three
resumes or 30 seconds without a new byte are the end. Time in which we paused
the source ourselves does not count. A worker that is refused beside others just
leaves; the last one fails the fill. What a *peer* fails to give costs nothing:
the source is asked again at once, and sees to it that it ends at upstream.

**The disk** (``assembly``) writes and checksums a piece in one job, one job at
a time, so order needs no lock. The digest (``running``) has jobs of its own,
one at a time as well, beside them: it takes longer than all else. When too much
waits for either (``pressure``), the sources are paused: the only reason for
which they ever are.

**The end.** All bytes present and hashed: the digest decides. Right: the flight
is WHOLE, the held-back tail goes out, and the store takes the file. Wrong: all
readers are broken off one tail short, everything is dropped, and the digest is
refused for some seconds; unless peers sent some of it (``Blame``), for then
another fill begins at once, and clients that try again find it under way. A
failure of the sources keeps whole segments on disk for the next attempt, and so
does ``stop``. A failure of the disk breaks readers off.

**No room.** Known before the first byte (``Store.reserve``): NoRoom, and the
client is passed through. In the middle (the disk is full, or a blob of unknown
length outgrows what could be reserved, ``allowance``): the fill becomes narrow
(``narrow``). Bytes then come in order over one connection, what is behind the
slowest reader is punched out, the fill waits for it, nobody new may join, and
the blob is not kept. One that only peers asked for ends instead, kept as far as
it came.

**Stopping and cancelling.** Every connection, timer and wait has an owner that
ends it; ``Fill`` ends all of them in one place, then waits for the disk job
under way, and only then lets go of the file.
"""

from nodecache.fill.fill import Fill
from nodecache.fill.fills import Fills
from nodecache.fill.tools import Blame, NoBlame, Spreading, Width
from nodecache.fill.verdict import Outcome

__all__ = ["Blame", "Fill", "Fills", "NoBlame", "Outcome", "Spreading", "Width"]
