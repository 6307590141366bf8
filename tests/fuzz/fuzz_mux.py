"""Fuzz both ends of Mux.Cool, and packetaddr.

The first byte of an input says who is fuzzed: `s` the server's end of a carrier, `c` the client's,
`p` packetaddr; the rest is what the peer sends.
"""

import ipaddress

from tests.kit.vectors import load, unpack
from trio_vmess.core import Destination, Network, decode_packetaddr, encode_packetaddr
from trio_vmess.core.mux import (
    Frame,
    FrameReader,
    KeepAlive,
    MuxClient,
    MuxServer,
    New,
    encode_frame,
)
from trio_vmess.errors import RemoteProtocolError

SESSION_COUNT = 3
WEB = Destination(host="example.com", port=443)
DNS = Destination(host="example.com", port=53, network=Network.UDP)
HELD_MAX = 2 + 512 + 2 + 0xFFFF

_WIRES = [unpack(vector["wire"]) for vector in (*load("mux"), *load("mux_udp"))]

SEEDS = (
    *(side + wire for wire in _WIRES for side in (b"s", b"c")),
    b"p\x01\xc0\x00\x02\x21\x00\x35query",
)


def converse(data: bytes, *, is_client: bool, step: int) -> tuple[list[Frame], bytes, str | None]:
    """Give an end what its peer sends, some bytes at a time.

    Returns:
        What it understood, what it wants to send, and what was wrong.
    """
    end = MuxClient() if is_client else MuxServer(session_count_max=SESSION_COUNT)
    if isinstance(end, MuxClient):
        for destination in (WEB, DNS, WEB):
            end.open(destination)
        end.open(DNS, session_id=0)
    frames: list[Frame] = []
    try:
        for start in range(0, len(data), step):
            frames += end.receive_data(data[start : start + step])
            assert end.session_count <= SESSION_COUNT + is_client
            assert len(end._reader._held) <= HELD_MAX
    except RemoteProtocolError as exc:
        return [], b"", str(exc)
    return frames, bytes(end.data_to_send()), None


def _check_carrier(wire: bytes, *, is_client: bool) -> None:
    whole = converse(wire, is_client=is_client, step=max(1, len(wire)))
    frames, answers, error = whole
    parts = converse(wire, is_client=is_client, step=7)
    # Which of two faults is named depends on the split, but not whether there is one.
    assert (parts[-1] is None) == (error is None)
    if error is None:
        assert parts == whole
    assert not any(isinstance(frame, KeepAlive) for frame in frames)
    assert not (is_client and any(isinstance(frame, New) for frame in frames))
    assert FrameReader().receive_data(b"".join(map(encode_frame, frames))) == frames
    reader = FrameReader()
    reader.receive_data(answers)
    assert reader.is_between_frames


def _check_packetaddr(data: bytes) -> None:
    try:
        destination, payload = decode_packetaddr(data)
    except RemoteProtocolError:
        return
    assert isinstance(destination.host, ipaddress.IPv4Address | ipaddress.IPv6Address)
    wire = encode_packetaddr(destination.host, destination.port, payload)
    assert decode_packetaddr(wire) == (destination, payload)


def check(data: bytes) -> None:
    """Raise if how the bytes are cut makes a difference, or anything but the known error comes."""
    if data[:1] == b"p":
        _check_packetaddr(data[1:])
    else:
        _check_carrier(data[1:], is_client=data[:1] == b"c")
