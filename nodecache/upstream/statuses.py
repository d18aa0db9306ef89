"""What an upstream's refusal means."""

from __future__ import annotations

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.rates import parse_rates, parse_retry_after
from nodecache.upstream.wire import Reply

_KINDS = {
    401: UpstreamKind.DENIED,
    403: UpstreamKind.DENIED,
    404: UpstreamKind.NOT_FOUND,
    410: UpstreamKind.NOT_FOUND,
    429: UpstreamKind.LIMITED,
}


def kind_of(status: int) -> UpstreamKind:
    """ERROR also stands for what no registry should answer."""
    return _KINDS.get(status, UpstreamKind.ERROR)


def refusal(reply: Reply, what: str, wall: float) -> UpstreamFailure:
    """The failure that an answer other than a success is. ``wall`` is now, on the wall clock."""
    retry_after = None
    if reply.status in {429, 503}:
        retry_after = parse_retry_after(reply.header("Retry-After"), wall)
    if reply.status == 429 and retry_after is None:
        rates = parse_rates(reply.header, wall)
        if rates is not None and rates.resets_at is not None:
            retry_after = max(0.0, rates.resets_at - wall)
    return UpstreamFailure(
        kind_of(reply.status),
        f"{reply.host} answered {reply.status} for {what}",
        status=reply.status,
        retry_after=retry_after,
    )
