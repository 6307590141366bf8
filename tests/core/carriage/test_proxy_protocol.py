"""PROXY headers: what proxies send, what servers must take and refuse, and what we write."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import NEED_DATA, Destination, NeedData, parse_host
from trio_vmess.core.carriage import (
    ProxyHeader,
    ProxyHeaderReader,
    encode_proxy_v1,
    encode_proxy_v2,
)
from trio_vmess.core.carriage.proxy_protocol import V2_SIZE_MAX
from trio_vmess.errors import RemoteProtocolError

SENT = load("transport_proxy_protocol", "sent_by_proxies")
VALID = load("transport_proxy_protocol", "valid")
INVALID = load("transport_proxy_protocol", "invalid")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def end_of(pair: list[Any] | None) -> Destination | None:
    return None if pair is None else Destination(host=parse_host(pair[0]), port=pair[1])


def read(wire: bytes, *, step: int = 1 << 20) -> tuple[ProxyHeader | NeedData, bytes]:
    reader = ProxyHeaderReader()
    found: ProxyHeader | NeedData = reader.next_event()
    for start in range(0, len(wire), step):
        reader.receive_data(wire[start : start + step])
        event = reader.next_event()
        assert found is NEED_DATA or event is NEED_DATA
        found = event if found is NEED_DATA else found
    return found, reader.trailing_data


@for_each(SENT)
def test_what_haproxy_sends_is_read_and_written(vector: dict[str, Any]) -> None:
    wire, source = unpack(vector["wire"]), end_of(vector.get("source"))
    destination = end_of(vector.get("destination"))
    expected = ProxyHeader(source=source, destination=destination)
    for step in (1, 7, len(wire)):
        assert read(wire, step=step) == (expected, unpack(vector.get("payload", "")))
    if "unique-id" not in vector["name"]:
        encode = encode_proxy_v2 if "v2" in vector["name"] else encode_proxy_v1
        assert wire.startswith(encode(source, destination))


@for_each(VALID)
def test_a_valid_header_is_read_however_it_is_split(vector: dict[str, Any]) -> None:
    wire, source = unpack(vector["wire"]), end_of(vector["source"])
    for cut in range(len(wire)):
        reader = ProxyHeaderReader()
        reader.receive_data(wire[:cut])
        assert reader.next_event() is NEED_DATA
        reader.receive_data(wire[cut:] + b"\x16\x03")
        event = reader.next_event()
        assert isinstance(event, ProxyHeader)
        assert event.source == source
        assert (event.destination is None) == (source is None)
        assert reader.trailing_data == b"\x16\x03"
        assert reader.next_event() is NEED_DATA


@for_each(INVALID)
def test_an_invalid_header_is_refused(vector: dict[str, Any]) -> None:
    wire = unpack(vector["wire"])
    if not wire:
        assert read(wire) == (NEED_DATA, b"")
        return
    for step in (1, len(wire)):
        with pytest.raises(RemoteProtocolError, match="PROXY header"):
            read(wire, step=step)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"\x16\x03\x01", "no PROXY header (16 03 01): does the proxy in front send one?"),
        (b"GET / HTTP/1.1", "no PROXY header (47 45"),
        (b"\r\n\r\nx", "no PROXY header (0d 0a"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\n", "its line does not end in CRLF"),
        (b"PROXY UNKNOWN \n\r\n", "its line does not end in CRLF"),
        (b"PROXY UNKNOWN" + b" " * 100, "more than 107 bytes"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "is malformed"),
        (b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", "is malformed"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "is malformed"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 \u0661 2\r\n".encode(), "is malformed"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "is malformed"),
        (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "is malformed"),
        (b"PROXY \r\n", "is malformed"),
        (SIGNATURE + b"\x31", "unknown version or command 0x31"),
        (SIGNATURE + b"\x21\x41\x00\x00", "unknown family or transport 0x41"),
        (SIGNATURE + b"\x21\x13\x00\x0c", "unknown family or transport 0x13"),
        (SIGNATURE + b"\x21\x21\x00\x23", "no room for addresses in 35 bytes"),
        (SIGNATURE + b"\x20\x00\xff\xff", "65551 bytes; the limit is 4096"),
    ],
)
def test_nonsense_is_refused_without_waiting_for_more(wire: bytes, said: str) -> None:
    reader = ProxyHeaderReader()
    reader.receive_data(wire)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            reader.next_event()
        assert said in str(caught.value)


def test_a_header_may_be_as_long_as_the_limit() -> None:
    length = V2_SIZE_MAX - len(SIGNATURE) - 4
    wire = SIGNATURE + b"\x20\x00" + length.to_bytes(2, "big") + bytes(length)
    assert read(wire + b"x") == (ProxyHeader(), b"x")


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.integers(0, 0xFFFF)


@given(addresses, ports, addresses, ports, st.binary(max_size=20), st.integers(1, 60))
def test_what_we_write_is_read(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other_port: int,
    rest: bytes,
    step: int,
) -> None:
    source = Destination(host=parse_host(str(host)), port=port)
    destination = Destination(host=parse_host(str(other)), port=other_port)
    expected = ProxyHeader(source=source, destination=destination)
    for encode in (encode_proxy_v1, encode_proxy_v2):
        wire = encode(source, destination)
        assert read(wire + rest, step=step) == (expected, rest)


@pytest.mark.parametrize(
    "source", [None, Destination(host="client.example", port=1)], ids=["nobody", "a name"]
)
def test_nothing_to_say_is_said_in_a_way_that_all_servers_take(source: Destination | None) -> None:
    destination = Destination(host=ipaddress.IPv4Address("192.0.2.1"), port=443)
    assert encode_proxy_v1(source, destination) == b"PROXY UNKNOWN\r\n"
    assert encode_proxy_v2(source, destination) == SIGNATURE + b"\x20\x00\x00\x00"
