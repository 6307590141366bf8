"""Parting datagrams without reading them agrees with reading them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core.socks import decode_datagram, encode_datagram, split_datagram
from trio_vmess.errors import RemoteProtocolError

hosts = st.one_of(st.ip_addresses(), st.from_regex(r"[a-z][a-z0-9.-]{0,60}[a-z]", fullmatch=True))


@given(host=hosts, port=st.integers(0, 65535), payload=st.binary(max_size=50))
def test_agrees_with_decoding(host: object, port: int, payload: bytes) -> None:
    data = encode_datagram(host, port, payload)  # type: ignore[arg-type]
    written, rest = split_datagram(data)
    assert rest == decode_datagram(data).payload == payload
    assert bytes(3) + written + rest == data


@given(data=st.binary(max_size=40))
def test_splitting_raises_nothing_and_loses_no_byte(data: bytes) -> None:
    written, rest = split_datagram(data)
    if written:
        assert data[3:] == written + rest
    try:
        datagram = decode_datagram(data)
    except RemoteProtocolError:
        return
    assert rest == datagram.payload


@pytest.mark.parametrize("data", [b"", b"\0\0\0\1", b"\0\0\1\1\x7f\0\0\1\0\x35x"])
def test_a_datagram_without_a_readable_address_is_not_split(data: bytes) -> None:
    assert split_datagram(data) == (b"", b"")
