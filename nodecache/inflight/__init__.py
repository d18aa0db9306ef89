"""One blob in flight: a sparse file, the set of its bytes that are present, and who waits.

Theory of operation
===================

A download is not a pipe from a source to a client. It is a file that grows,
and everybody else is a reader of that file:

* One *fill* (``nodecache.fill``) owns the flight. It alone writes the file and
  tells the flight what is present. It belongs to the cache, not to a request:
  clients come and go, the fill goes on.
* Any number of *readers*, each at its own pace and from its own offset, take
  what is present from the file and wait for the rest. Whoever comes late
  starts at the first byte; whoever wants a range waits for that range only;
  whoever is slow holds up nobody, since nothing is buffered for it.

* Readers that are peers (``Flight.lent``) want parts of it, of which nothing is
  held back: they check what they get, and the digest is theirs to find right.

The bytes need not arrive in order: ``present`` is a set of ranges, and a
stream, a resume, a ``Range`` of a client and eight parallel connections differ
only in the order in which the set grows.

**Status** (``progress.Status``) goes one way only::

    ASKING ── begin ──> ARRIVING ── verify ──> WHOLE
       └───────── fail ────┴────> FAILED

ASKING: no source has answered; nobody gets a byte. ARRIVING: the headers of a
source are in, and with them the total, unless the source does not know it
either. WHOLE: all bytes are present and their digest is right. FAILED: no more
bytes will come, for a reason that every reader gets as a value.

**The held-back tail.** Bytes leave before their digest is known, or a client
would see nothing of a big layer for minutes. But a body that a client takes
for complete must be right. So a reader of a full or open-ended body
(``held_back``) gets the last ``tail`` bytes only when the flight is WHOLE;
until then its body is visibly unfinished, and on a mismatch it is broken off
there. Where the total is unknown, every byte may be among the last, so the
tail is counted from the end of what has arrived. A closed range is no complete
blob and flows as soon as it is present. The total of a blob of unknown length
becomes known to readers only together with its digest, and an empty blob is
verified before anybody gets headers: both would otherwise look complete while
they are not.

**Failing.** After a mismatch, or when the disk can not be trusted, nothing more
is given out (``mute``). When merely the sources failed, readers still get what
is present, and fail when they want more.

**Waiting** (``waiters``). Each wait has a Deferred of its own, whose cancelling
removes it. Wakes are collected: however much changes in a turn of the reactor,
each waiter is looked at once, in the next turn, over a copy of the list. So a
woken reader may read, close, or wait again without disturbing the others, and
no wake recurses.

**The file** (``file``). One descriptor for all, counted, apart from the fill's
own: the file may be renamed into the store, or unlinked, while readers go on.
Who is last closes it, in a thread of the disk: the close of an unlinked file is
what frees its blocks, and that blocks.

**No room.** A fill that runs out of disk keeps only a window of the file: what
lies behind the slowest reader is punched out (``floor``). Such a flight takes
no more readers, for its beginning is gone.
"""

from nodecache.inflight.file import SharedFile
from nodecache.inflight.flight import Flight
from nodecache.inflight.progress import Progress, Status
from nodecache.inflight.reader import FlightReader

__all__ = ["Flight", "FlightReader", "Progress", "SharedFile", "Status"]
