"""Packetaddr: golden captures, round trips, and what is refused."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.vectors import load, unpack
from trio_vmess.core import (
    PACKETADDR_HOST,
    Destination,
    IPAddress,
    Network,
    decode_packetaddr,
    encode_packetaddr,
)
from trio_vmess.errors import RemoteProtocolError

CAPTURES = [
    capture
    for capture in load("captures_singbox_udp")
    if capture["settings"].get("packet_encoding") == "packetaddr"
]


def described(packet: dict[str, Any]) -> tuple[IPAddress, int, bytes]:
    data = packet["data"]
    payload = bytes(data["len"]) if isinstance(data, dict) else unpack(data)
    return ipaddress.ip_address(packet["address"]), packet["port"], payload


def test_a_datagram_of_a_live_session() -> None:
    packets = [
        described(packet)
        for capture in CAPTURES
        for direction in ("request", "response")
        for packet in capture["decoded"][direction]["packets"]
    ]
    assert packets
    for host, port, payload in packets:
        wire = encode_packetaddr(host, port, payload)
        assert wire[1:] == host.packed + port.to_bytes(2) + payload
        assert decode_packetaddr(wire)[1] == payload
    assert all(
        capture["decoded"]["request_header"]["address"] == PACKETADDR_HOST for capture in CAPTURES
    )


@given(
    st.ip_addresses().filter(lambda host: getattr(host, "ipv4_mapped", None) is None),
    st.integers(0, 0xFFFF),
    st.binary(max_size=50),
)
def test_a_round_trip(host: IPAddress, port: int, payload: bytes) -> None:
    destination = Destination(host=host, port=port, network=Network.UDP)
    assert decode_packetaddr(encode_packetaddr(host, port, payload)) == (destination, payload)


def test_ipv6_has_type_2() -> None:
    wire = encode_packetaddr(ipaddress.ip_address("2001:db8::1"), 53, b"q")
    assert wire == bytes.fromhex("0220010db8000000000000000000000001003571")


def test_a_mapped_address_is_the_ipv4_address() -> None:
    mapped = ipaddress.ip_address("::ffff:192.0.2.1")
    destination, _ = decode_packetaddr(encode_packetaddr(mapped, 53, b""))
    assert destination.host == ipaddress.ip_address("192.0.2.1")


@pytest.mark.parametrize("wire", ["", "00", "03c00002210035", "01c000022100", "02" + "00" * 17])
def test_what_has_no_address_is_refused(wire: str) -> None:
    with pytest.raises(RemoteProtocolError, match="packetaddr"):
        decode_packetaddr(bytes.fromhex(wire))
