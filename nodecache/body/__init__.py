"""From the bytes of a blob to the socket of a client, at the client's pace."""

from nodecache.body.framed import PEER_STALL, FramedSender, PartsWire
from nodecache.body.lane import Lane
from nodecache.body.part import Part
from nodecache.body.passthrough import PassThroughSender
from nodecache.body.sender import BlobSender
from nodecache.body.sending import Sender
from nodecache.body.stall import StallWatch
from nodecache.body.uplink import Uplink
from nodecache.body.wire import BlobTools, FileTools, Outcome, Tools, Wire

__all__ = [
    "PEER_STALL",
    "BlobSender",
    "BlobTools",
    "FileTools",
    "FramedSender",
    "Lane",
    "Outcome",
    "Part",
    "PartsWire",
    "PassThroughSender",
    "Sender",
    "StallWatch",
    "Tools",
    "Uplink",
    "Wire",
]
