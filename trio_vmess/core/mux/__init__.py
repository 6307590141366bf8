"""Mux.Cool: many connections in one, and its extension XUDP, without I/O.

`MuxClient` and `MuxServer` are the two ends of a carrier: what the peer sends goes into
`receive_data`, which returns frames; what is to be sent comes out of `data_to_send`. The carrier is
the body of a VMess connection with the command Mux; chunk boundaries mean nothing.

There is no flow control: whoever cannot take data buffers it, stops reading the whole carrier, or
ends the session.

Sources:
    v2ray-core v4.34, common/mux; Xray-core, common/mux and common/xudp; sing-vmess, mux.go.
"""

from trio_vmess.core.mux.connection import MuxClient, MuxServer
from trio_vmess.core.mux.frame import (
    GLOBAL_ID_SIZE,
    PACKET_SIZE,
    SESSION_ID_MAX,
    STREAM_FRAME_SIZE,
    XUDP_PACKET_SIZE,
    XUDP_SESSION,
    End,
    Frame,
    Keep,
    KeepAlive,
    New,
    encode_frame,
)
from trio_vmess.core.mux.global_id import make_global_id
from trio_vmess.core.mux.reader import FrameReader

__all__ = [
    "GLOBAL_ID_SIZE",
    "PACKET_SIZE",
    "SESSION_ID_MAX",
    "STREAM_FRAME_SIZE",
    "XUDP_PACKET_SIZE",
    "XUDP_SESSION",
    "End",
    "Frame",
    "FrameReader",
    "Keep",
    "KeepAlive",
    "MuxClient",
    "MuxServer",
    "New",
    "encode_frame",
    "make_global_id",
]
