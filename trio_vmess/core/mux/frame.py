"""The frames of Mux.Cool, and how they are written.

Layout:

    2  size of the metadata     what follows, up to the data
    2  session id
    1  status                   1 new, 2 keep, 3 end, 4 keep-alive
    1  option                   bit 0: data follows; bit 1: the session failed
    1  network                  1 TCP, 2 UDP; up to the address: new, and XUDP's keep
    2  port
    n  address                  as in a VMess header
    8  global id                XUDP's new, not always
    2  size of the data         with bit 0
    n  data
"""

import struct
from typing import Final, assert_never

import attrs

from trio_vmess.core.destination import Destination, Network
from trio_vmess.core.vmess.address import encode_address
from trio_vmess.errors import LocalProtocolError

METADATA_SIZE_MIN: Final = 4
METADATA_SIZE_MAX: Final = 512
DATA_SIZE_MAX: Final = 0xFFFF
SESSION_ID_MAX: Final = 0xFFFF

XUDP_SESSION: Final = 0
"""The session id of XUDP where it has a carrier of its own."""

GLOBAL_ID_SIZE: Final = 8

STREAM_FRAME_SIZE: Final = 16 * 1024
"""Bytes of a stream that we put into one frame; others write 8 KiB, and read any size."""

PACKET_SIZE: Final = 2048
"""The largest datagram that every peer takes.

QUIRK: V2Ray ends the whole carrier at a larger one. Source: v2ray-core, common/mux/reader.go.
"""

XUDP_PACKET_SIZE: Final = 8192
"""The same for peers that speak XUDP. Source: Xray-core, common/buf/buffer.go."""


class Status:
    """What a frame is about. Plain ints: they are compared often."""

    NEW: Final = 1
    KEEP: Final = 2
    END: Final = 3
    KEEP_ALIVE: Final = 4


class Option:
    """Bits of the option byte; the others are ignored."""

    DATA: Final = 0x01
    ERROR: Final = 0x02


NETWORK_TCP: Final = 1
NETWORK_UDP: Final = 2


@attrs.frozen
class New:
    """A session begins; only clients send this.

    Attributes:
        session_id: 0 to 65535.
        destination: where it goes; with UDP, where `data` does.
        data: the first bytes, or the first datagram; None for a frame without data.
        global_id: XUDP's: the same for all sessions of one socket of a program; empty for none.
        is_extended: the client has sent that field, if only zeros: it speaks XUDP.
    """

    session_id: int
    destination: Destination
    data: bytes | None = attrs.field(default=None, repr=False)
    global_id: bytes = attrs.field(default=b"", repr=False)
    is_extended: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Keep:
    """Data of a session.

    Attributes:
        session_id: 0 to 65535.
        data: bytes of the stream, or one datagram; None for a frame without data.
        peer: where a datagram goes to, or comes from; None for the destination of the session, and
            for streams.
    """

    session_id: int
    data: bytes | None = attrs.field(default=None, repr=False)
    peer: Destination | None = None


@attrs.frozen
class End:
    """A session ends, in both directions: there is no half-close.

    Attributes:
        session_id: 0 to 65535.
        is_error: it has failed.
    """

    session_id: int
    is_error: bool = False


@attrs.frozen
class KeepAlive:
    """Means nothing; keeps the carrier from looking idle to what lies between."""

    session_id: int = 0


Frame = New | Keep | End | KeepAlive

_HEAD: Final = struct.Struct(">HHBB")
_SIZED_HEAD: Final = struct.Struct(">HHBBH")
_TARGET: Final = struct.Struct(">BH")
_SIZE: Final = struct.Struct(">H")


def encode_frame(frame: Frame) -> bytes:
    """Write a frame.

    Raises:
        LocalProtocolError: a name cannot be written, or the data is too long for one frame.
    """
    match frame:
        case New(session_id, destination, data, global_id):
            target = _encode_target(destination)
            if destination.network is Network.UDP:
                target += global_id or (bytes(GLOBAL_ID_SIZE) if frame.is_extended else b"")
            return _encode(session_id, Status.NEW, target, data)
        case Keep(session_id, data, peer):
            target = b"" if peer is None else _encode_target(peer)
            return _encode(session_id, Status.KEEP, target, data)
        case End(session_id, is_error):
            option = Option.ERROR if is_error else 0
            return _HEAD.pack(METADATA_SIZE_MIN, session_id, Status.END, option)
        case KeepAlive(session_id):
            return _HEAD.pack(METADATA_SIZE_MIN, session_id, Status.KEEP_ALIVE, 0)
        case _:
            assert_never(frame)


def encode_keep_head(session_id: int, size: int) -> bytes:
    """Write what stands before `size` bytes of a stream."""
    return _SIZED_HEAD.pack(METADATA_SIZE_MIN, session_id, Status.KEEP, Option.DATA, size)


def _encode_target(destination: Destination) -> bytes:
    network = NETWORK_TCP if destination.network is Network.TCP else NETWORK_UDP
    return _TARGET.pack(network, destination.port) + encode_address(destination.host)


def _encode(session_id: int, status: int, target: bytes, data: bytes | None) -> bytes:
    size = METADATA_SIZE_MIN + len(target)
    if data is None:
        return _HEAD.pack(size, session_id, status, 0) + target
    if len(data) > DATA_SIZE_MAX:
        raise LocalProtocolError(f"{len(data)} bytes do not fit into a frame")
    head = _HEAD.pack(size, session_id, status, Option.DATA)
    return b"".join((head, target, _SIZE.pack(len(data)), data))
