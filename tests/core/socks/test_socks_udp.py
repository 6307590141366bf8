"""The header of SOCKS5 datagrams."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core import Destination, Network
from trio_vmess.core.socks import UdpDatagram, decode_datagram, encode_datagram
from trio_vmess.errors import RemoteProtocolError

HOSTS = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None),
    st.from_regex(r"[a-z][a-z0-9._-]{0,253}[a-z]", fullmatch=True),
)


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        (ipaddress.IPv4Address("192.0.2.1"), "00000001c00002010035"),
        (ipaddress.IPv6Address("2001:db8::1"), "0000000420010db80000000000000000000000010035"),
        ("example.com", "000000030b6578616d706c652e636f6d0035"),
    ],
)
def test_layout(host: ipaddress.IPv4Address | ipaddress.IPv6Address | str, encoded: str) -> None:
    data = bytes.fromhex(encoded) + b"query"
    assert encode_datagram(host, 53, b"query") == data
    assert decode_datagram(data) == UdpDatagram(
        destination=Destination(host=host, port=53, network=Network.UDP), payload=b"query"
    )


@given(HOSTS, st.integers(0, 0xFFFF), st.binary(max_size=64))
def test_round_trip(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address | str, port: int, payload: bytes
) -> None:
    datagram = decode_datagram(encode_datagram(host, port, payload))
    assert datagram.destination == Destination(host=host, port=port, network=Network.UDP)
    assert datagram.payload == payload


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("", "RSV, FRAG, ATYP"),
        ("000000", "RSV, FRAG, ATYP"),
        ("00000101c00002010035", "FRAG is 1"),
        ("00000002c00002010035", "DST.ADDR: address type 0x02"),
        ("00000003000035", "DST.ADDR"),
        ("0000000302ff000035", "DST.ADDR"),
    ],
)
def test_malformed(data: str, field: str) -> None:
    with pytest.raises(RemoteProtocolError, match=field):
        decode_datagram(bytes.fromhex(data))


@given(HOSTS, st.data())
def test_a_truncated_header_is_refused(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address | str, data: st.DataObject
) -> None:
    whole = encode_datagram(host, 53, b"")
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RemoteProtocolError):
        decode_datagram(whole[:size])


@given(st.binary(max_size=64))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        decode_datagram(data)
    except RemoteProtocolError:
        return


def test_reserved_bytes_are_not_looked_at() -> None:
    data = bytes.fromhex("ffff0001c00002010035")
    assert decode_datagram(data).destination.port == 53


@pytest.mark.parametrize(("host", "port"), [("", 1), ("a" * 256, 1), ("bücher", 1), ("a", 65536)])
def test_addresses_that_cannot_be_written_are_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"name|port|ascii"):
        encode_datagram(host, port, b"")


def test_the_payload_is_not_printed() -> None:
    assert "secret" not in repr(decode_datagram(encode_datagram("a", 1, b"secret")))
