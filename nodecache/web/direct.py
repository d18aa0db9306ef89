"""Writes an answer to its socket at once, where nothing waits before it.

Twisted puts what is written into a buffer, asks the poller to tell when the
socket takes bytes, and sends in the next turn. A small answer fits into the
socket's own buffer nearly always, so that the turn, and two calls to the poller,
can be spared.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp


def is_idle(transport: Any) -> bool:
    """Whether what is written to ``transport`` goes out as it is, with nothing before it.

    A transport of TLS passes on what it does not know to the one below: it has
    to be told apart by its type.
    """
    return (
        isinstance(transport, tcp.Connection)
        and not transport.TLS
        and bool(transport.connected)
        and not transport.disconnecting
        and not transport.dataBuffer
        and not getattr(transport, "_tempDataBuffer", True)
    )


def write_now(transport: Any, data: bytes) -> None:
    """As ``transport.write``; the socket is given now what it takes."""
    sent = transport.writeSomeData(data) if is_idle(transport) else 0
    if not isinstance(sent, int):  # the connection is lost, which the reactor finds out
        sent = 0
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
