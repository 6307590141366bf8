"""A connection that carries many, by the frames of Mux.Cool: what both of its ends do alike."""

from trio_vmess.transport.mux.carrier import (
    ANSWER_SIZE_MAX,
    CARRIER_READ_SIZE,
    CARRIER_UNREAD_SIZE_MAX,
    STALL_LIMIT,
    UNREAD_SIZE_MAX,
    CarrierLog,
    MuxCarrier,
    PacketSession,
)
from trio_vmess.transport.mux.sender import BUSY_TURN_SIZE, TURN_SIZE
from trio_vmess.transport.mux.stream import MuxStream, StreamOwner

__all__ = [
    "ANSWER_SIZE_MAX",
    "BUSY_TURN_SIZE",
    "CARRIER_READ_SIZE",
    "CARRIER_UNREAD_SIZE_MAX",
    "STALL_LIMIT",
    "TURN_SIZE",
    "UNREAD_SIZE_MAX",
    "CarrierLog",
    "MuxCarrier",
    "MuxStream",
    "PacketSession",
    "StreamOwner",
]
