"""Every timeout and every limit, with its default, in one place.

Seconds and bytes throughout. The TOML tables ``[timeouts]`` and ``[limits]``
set them by these names. Where a figure comes from outside, the line says so.
"""

from __future__ import annotations

import attrs

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

#: Bytes of the longest order that a node takes over its socket: some ten thousand names.
ORDER_BYTES = MIB


@attrs.frozen
class Timeouts:
    """Seconds."""

    # One deadline for DNS, token, mirrors and CDN until headers are in.
    # containerd gives up on headers after 30 s; fall-back must fit before.
    answer: float = 10.0
    # One attempt to connect (DNS included), of that.
    connect: float = 3.0
    # A body without a byte for this long is broken off and resumed.
    silence: float = 10.0
    # All resumes of one blob without progress together; then its readers are aborted.
    stall_total: float = 30.0
    # Pause before the second resume without progress, doubling; the first is made at once.
    resume_pause: float = 1.0
    # Received bytes too few for a disk job of their own go to disk after this long.
    flush: float = 0.002
    # A fill whose disk is full looks again this often.
    full_retry: float = 1.0
    # A fill without room waits this long for what is being stored or closed to make some.
    room: float = 1.0
    # Such a fill looks this often whether there is some.
    room_look: float = 0.05
    # The rate of a fill is measured over at least this long before a connection is added.
    ramp: float = 0.25
    # A client that takes no byte for this long is dropped.
    client_stall: float = 90.0
    # A connection that sends no (complete) request for this long is closed.
    client_idle: float = 60.0
    # Bodies in flight are given this long after SIGTERM.
    drain: float = 25.0
    # 401, 403 and 404 of upstream are remembered.
    absent: float = 10.0
    # The same for tags that signing tools poll (sha256-…).
    absent_signature: float = 2.0
    # A 429 that names no time.
    limited: float = 60.0
    # First pause before an upstream that failed is probed; doubles from then on.
    probe_first: float = 1.0
    # Longest pause before an upstream that failed is probed again.
    probe_last: float = 30.0
    # Tokens are renewed this long before they expire.
    token_margin: float = 10.0
    # tags/list and referrers are served from memory or disk for this long.
    listing_ttl: float = 60.0
    # An answered range keeps its blob from eviction this long after its last reader, unless
    # nothing else can go.
    grace_pin: float = 60.0
    # Spans are sent to their collector this often.
    traces_flush: float = 2.0
    # A collector is given this long to take them.
    traces_send: float = 5.0
    # The last spans are given this long when the node stops.
    traces_close: float = 1.0
    # Idle connections to upstream are kept this long.
    keepalive: float = 30.0
    # The running marker in the data folder is rewritten this often.
    marker: float = 10.0
    # Segments of blobs not whole go after this long unasked.
    partial_life: float = 86400.0
    # Stored blobs are first read again so long after the start.
    scrub_first: float = 600.0
    # The next pass over the stored blobs begins so long after the last.
    scrub_rest: float = 86400.0
    # Data of another release goes when that has not run for this long.
    format_life: float = 604800.0

    # The name of the peers is resolved this often, with jitter.
    peer_resolve: float = 10.0
    # One resolution of it, all names of the search list together.
    peer_lookup: float = 5.0
    # An address that no good answer of DNS names, and nobody has met, is forgotten after this long.
    peer_forget: float = 90.0
    # A connection to a peer (of the same cluster, so near).
    peer_connect: float = 0.25
    # Silence of a peer until the headers of its answer, until it is given up.
    peer_silence: float = 1.5
    # The same within a body. On slow links that many share a connection is starved for seconds.
    peer_stall: float = 3.0
    # A peer that has nothing to send yet and is fetching says so this often.
    peer_alive: float = 0.5
    # A peer asked to fetch answers after this long that it is at it (202): well within the
    # silence that is granted to one of several.
    peer_patience: float = 0.4
    # One segment is looked for among peers at most this long before upstream is asked.
    peer_search: float = 6.0
    # A peer's body that has gone on for this long, and will for as long again, is shared with a
    # second peer, once all of the blob is being fetched.
    peer_share: float = 1.0
    # A second peer for it is looked for this long; then it is looked for anew.
    peer_beside: float = 1.0
    # Upstream silent for this long: the rest of the peers is asked whether they have it.
    peer_sweep_after: float = 2.0
    # First pause of a peer that failed; doubles from then on.
    peer_pause_first: float = 1.0
    # Longest pause of a peer that failed.
    peer_pause_last: float = 60.0
    # A peer that sent wrong bytes is put aside for this long.
    peer_corrupt: float = 3600.0
    # Peers greet each other this often, to learn of changes.
    peer_greet: float = 30.0
    # A starting node waits this long for the first greetings before it ranks its peers.
    peer_first: float = 1.0
    # How far a request's time may be from ours.
    peer_window: float = 30.0
    # The secrets are looked at this often.
    peer_secrets: float = 5.0
    # A fill that only peers asked for ends after this long unasked.
    peer_linger: float = 10.0
    # A blob that failed its digest is fetched alone from upstream once in this time.
    peer_repair: float = 3600.0

    @property
    def upstream_answer(self) -> float:
        """What upstream is given of ``answer``.

        Less than its clients wait: a silent upstream is found out before the
        first of them gives up, or the next request would have to wait as well.
        """
        return self.answer * 0.9


@attrs.frozen
class Limits:
    """Counts and bytes."""

    # Parallel upstream connections for one blob.
    connections_per_blob: int = 8
    # Parallel upstream connections of the node for all its blobs.
    connections_per_node: int = 32
    # Blobs filled at a time; more wait in line.
    fills: int = 64
    # Times that a broken body is taken up again without progress between.
    resumes: int = 3
    # Largest manifest; clients take 4 MiB (containers/image) or 4*1048*1048 (dockerd, containerd).
    manifest_bytes: int = 4 * 1048 * 1048
    # Largest answer of a token server.
    token_bytes: int = 1 * MIB
    # Largest answer to tags/list and referrers.
    listing_bytes: int = 4 * MIB
    # Redirects that are followed for one request.
    redirects: int = 5
    # Header bytes of a client's request.
    header_bytes: int = 64 * KIB
    # Header lines of a client's request.
    header_lines: int = 200
    # Open connections of clients; one more is told so (503, for a blob 404).
    client_connections: int = 4096
    # Of these, from one address, so that one pod that opens them without end is not alone here.
    client_connections_per_address: int = 2048
    # Bytes that wait for disk and digest before a fill's sources pause; resumed under two thirds.
    disk_queue: int = 5 * MIB
    # The same of all fills together, shared evenly.
    disk_queue_node: int = 32 * MIB
    # One disk job writes at most this much (measured: 1 MiB is slower, 8 MiB cost twice as much).
    job_bytes: int = 2 * MIB
    # A disk job is begun at once when this much waits, else after ``flush``.
    job_wanted: int = 2 * MIB
    # The first job of a fill: readers see bytes sooner (measured: first byte 15 to 7 ms).
    job_first: int = 64 * KIB
    # Bytes that one job reads again to hash what came out of order.
    job_reread: int = 8 * MIB
    # The rate of a fill is measured over at least this much before a connection is added.
    ramp_bytes: int = 4 * MIB
    # At so many bytes a second the processor is the limit, and no connection is added.
    ramp_enough: int = 200 * MIB
    # Blobs of unknown length speak for room in steps of this.
    reserve_step: int = 32 * MIB
    # A fill that ran out of room is at most this far ahead of its slowest reader.
    narrow_window: int = 32 * MIB
    # Held back from readers of a whole body until the digest is known.
    tail: int = 64 * KIB
    # Threads for the disk.
    disk_threads: int = 4
    # Bytes a second at which stored blobs are read again.
    scrub_rate: int = 8 * MIB
    # Memory for hot manifests.
    hot_manifest_bytes: int = 8 * MIB
    # Bodies that this node sends to its peers at a time.
    peer_transfers: int = 32
    # Bodies of one segment that this node sends at a time.
    peer_segment_transfers: int = 4
    # Peers that wait in line for one segment; more are referred elsewhere at once.
    peer_queue: int = 8
    # Bytes a second that this node sends to its peers, all together.
    peer_rate: int = 1 * GIB
    # Segments of a blob that a fill asks peers for at a time, in clusters of more than
    # peer_small_cluster nodes; halves of those that come slowly are beyond that.
    peer_connections_per_blob: int = 8
    # Clusters of at most so many nodes: all connections of a fill may ask for whole segments.
    peer_small_cluster: int = 10
    # Connections that all fills of a node begin with together, two each at least: on slow
    # links many at a time make each of them starve.
    peer_connections_shared: int = 12
    # Bodies from peers at a time for the whole node; each may hold 1 MiB unchecked.
    peer_connections_per_node: int = 64
    # Referrals that are followed in a row.
    peer_referrals: int = 12
    # Peers that are asked at a time whether they have what upstream does not give.
    peer_sweep: int = 32
    # Fills at a time that only peers asked for.
    peer_fills: int = 32
    # Open connections of peers; one more is told so (503).
    peer_clients: int = 2048
    # Of these, from one address: whoever knows no secret can not take the place of all others.
    peer_clients_per_address: int = 256
    # Open connections to the admin port; one more is told so (503).
    admin_clients: int = 512
    # Of these, from one address.
    admin_clients_per_address: int = 128
    # Lines of one kind of event that may be logged at once, before some are left out.
    log_burst: int = 1000
    # Lines a second of one kind that are logged from then on.
    log_rate: int = 50
    # Largest hello; 5,000 nodes with two addresses each fit.
    peer_hello_bytes: int = 2 * MIB
    # Images that this node fetches at a time because peers wish it; more wait.
    peer_warms: int = 4
    # Peers that are told at a time to fetch an image.
    warm_peers: int = 16
    # Images that one `pull` fetches at a time.
    warm_images: int = 4
    # Blobs that are fetched at a time for all images that are pulled before anybody asks for them.
    warm_blobs: int = 8


#: Wire constant (belongs to the peers' protocol version): bytes of a segment.
SEGMENT = 8 * MIB
#: Wire constant: at most this many lanes for a blob.
LANES = 8
#: Wire constant: bytes under one checksum.
CHECKSUM_BLOCK = 1 * MIB
#: The wire version: segments, lanes, checksums, signatures and frames belong to it. Nodes
#: of different versions share a cluster and leave each other alone.
WIRE_VERSION = "1"
