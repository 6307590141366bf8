"""Frames of the golden vectors, and frames that hypothesis makes up."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tests.kit.vectors import load, unpack
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.core.mux import End, Frame, FrameReader, Keep, KeepAlive, New

VECTORS = [*load("mux"), *load("mux_udp")]

NETWORKS = {1: Network.TCP, 2: Network.UDP}


def frame_of(described: dict[str, Any]) -> Frame:
    """Return the frame that a vector describes."""
    number, is_error = described["session_id"], bool(described["option"] & 2)
    data = unpack(described["data"]) if described["option"] & 1 else None
    target = None
    if "address" in described:
        host, port = parse_host(described["address"]), described["port"]
        target = Destination(host=host, port=port, network=NETWORKS[described["network"]])
    match described["status"]:
        case 1:
            assert target is not None
            global_id = described.get("global_id")
            taken = bytes.fromhex(global_id or "")
            return New(number, target, data, taken, is_extended=global_id is not None)
        case 2:
            return Keep(number, data, target)
        case 3:
            return End(number, is_error)
        case 4:
            return KeepAlive(number)
        case unknown:
            raise ValueError(f"status {unknown}")


def frames_of(vector: dict[str, Any]) -> list[Frame]:
    """Return the frames of a vector."""
    return [frame_of(described) for described in vector["frames"]]


def read(pieces: Iterable[bytes]) -> list[Frame]:
    """Return the frames that a reader finds in some pieces."""
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.receive_data(piece)]


_numbers = st.integers(0, 0xFFFF)
_data = st.none() | st.binary(max_size=300)
_hosts = st.one_of(
    st.ip_addresses(v=4),
    st.just(ipaddress.ip_address("2001:db8::1")),
    st.sampled_from(["example.com", "a", "x" * 255]),
)
_tcp = st.builds(Destination, host=_hosts, port=_numbers)
_udp = st.builds(Destination, host=_hosts, port=_numbers, network=st.just(Network.UDP))
_global_ids = st.binary(min_size=8, max_size=8).filter(any)

frames = st.one_of(
    st.builds(New, _numbers, _tcp, _data),
    st.builds(New, _numbers, _udp, _data),
    st.builds(New, _numbers, _udp, _data, is_extended=st.just(True)),
    st.builds(New, _numbers, _udp, _data, _global_ids, is_extended=st.just(True)),
    st.builds(Keep, _numbers, _data),
    st.builds(Keep, _numbers, _data, _udp),
    st.builds(End, _numbers, st.booleans()),
    st.builds(KeepAlive, _numbers),
)
