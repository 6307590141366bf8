"""Request headers, against recorded ones and field by field."""

import ipaddress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.vectors import for_each, load
from trio_vmess.core import NEED_DATA, Destination, Host, Network, parse_host
from trio_vmess.core.crypto import fnv1a
from trio_vmess.core.vmess.constants import Command, Security
from trio_vmess.core.vmess.dialect import DOCUMENT, V2RAY, Dialect
from trio_vmess.core.vmess.header import (
    MUX_DESTINATION,
    RequestHeader,
    decode_request_header,
    decrypt_legacy_header,
    encode_request_header,
    encrypt_legacy_header,
    open_aead_header,
    seal_aead_header,
)
from trio_vmess.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError

ILLEGAL = {"security-2-auto": "security", "option-09": "options"}
RECORDED = load("legacy_request") + load("aead_request")

HEADER = RequestHeader(
    body_iv=bytes(range(16)),
    body_key=bytes(range(16, 32)),
    response_auth=0x5A,
    options=0x0D,
    security=Security.AES_128_GCM,
    command=Command.TCP,
    destination=Destination(host="example.com", port=443),
    padding=b"\xaa\xbb\xcc",
)


def header_of(vector: dict[str, Any]) -> RequestHeader:
    command = Command(vector["command"])
    destination = MUX_DESTINATION
    if command is not Command.MUX:
        destination = Destination(
            host=parse_host(vector["address"]),
            port=vector["port"],
            network=Network.UDP if command is Command.UDP else Network.TCP,
        )
    return RequestHeader(
        body_iv=bytes.fromhex(vector["body_iv"]),
        body_key=bytes.fromhex(vector["body_key"]),
        response_auth=vector["response_auth"],
        options=vector["option"],
        security=Security(vector["security"] or 1),
        command=command,
        destination=destination,
        padding=bytes.fromhex(vector["padding"]),
    )


@for_each(RECORDED)
def test_recorded_header_decodes_and_encodes(vector: dict[str, Any]) -> None:
    plain = bytes.fromhex(vector["plain"])
    if field := ILLEGAL.get(vector["name"]):
        with pytest.raises(RemoteProtocolError, match=field) as caught:
            decode_request_header(plain, V2RAY)
        assert not isinstance(caught.value, AuthenticationError)
        return
    header = header_of(vector)
    assert decode_request_header(plain + b"what follows", V2RAY) == (header, len(plain))
    if vector["security"]:
        assert encode_request_header(header, V2RAY) == plain


@for_each(load("legacy_request"))
def test_recorded_legacy_encryption(vector: dict[str, Any]) -> None:
    cmd_key = bytes.fromhex(vector["command_key"])
    plain, wire = bytes.fromhex(vector["plain"]), bytes.fromhex(vector["wire"])
    assert encrypt_legacy_header(plain, cmd_key, vector["timestamp"]) == wire[16:]
    assert decrypt_legacy_header(wire[16:], cmd_key, vector["timestamp"]) == plain


@for_each(load("aead_request"))
def test_recorded_aead_sealing(vector: dict[str, Any]) -> None:
    cmd_key = bytes.fromhex(vector["command_key"])
    plain, wire = bytes.fromhex(vector["plain"]), bytes.fromhex(vector["wire"])
    auth_id, nonce = bytes.fromhex(vector["auth_id"]), bytes.fromhex(vector["nonce"])
    assert seal_aead_header(plain, cmd_key, auth_id, nonce) == wire
    assert open_aead_header(wire + b"body", cmd_key) == (plain, len(wire))


def test_no_prefix_of_an_aead_header_raises_and_no_flipped_bit_passes() -> None:
    vector = load("aead_request")[0]
    cmd_key, wire = bytes.fromhex(vector["command_key"]), bytes.fromhex(vector["wire"])
    for size in range(len(wire)):
        assert open_aead_header(wire[:size], cmd_key) is NEED_DATA
        damaged = bytearray(wire)
        damaged[size] ^= 0x80
        with pytest.raises(AuthenticationError, match="tag"):
            open_aead_header(bytes(damaged), cmd_key)


def test_an_implausible_header_length_is_refused() -> None:
    wire = seal_aead_header(bytes(3000), bytes(16), bytes(16), bytes(8))
    with pytest.raises(AuthenticationError, match="3000"):
        open_aead_header(wire, bytes(16))


def test_no_prefix_of_a_plain_header_raises() -> None:
    plain = encode_request_header(HEADER, V2RAY)
    for size in range(len(plain)):
        assert decode_request_header(plain[:size], V2RAY) is NEED_DATA


hosts = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None),
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9._-]{0,253}[a-z]", fullmatch=True),
)


@given(
    host=hosts,
    port=st.integers(0, 0xFFFF),
    command=st.sampled_from([Command.TCP, Command.UDP]),
    security=st.sampled_from(Security),
    padding=st.binary(max_size=15),
    response_auth=st.integers(0, 255),
    dialect=st.sampled_from([V2RAY, DOCUMENT]),
)
def test_round_trip(
    host: Host,
    port: int,
    command: Command,
    security: Security,
    padding: bytes,
    response_auth: int,
    dialect: Dialect,
) -> None:
    header = attrs.evolve(
        HEADER,
        destination=Destination(
            host=host, port=port, network=Network.UDP if command == 2 else Network.TCP
        ),
        command=command,
        security=security,
        padding=padding,
        response_auth=response_auth,
        options=0x05,
    )
    plain = encode_request_header(header, dialect)
    assert decode_request_header(plain, dialect) == (header, len(plain))


def rechecksummed(plain: bytes) -> bytes:
    return plain[:-4] + fnv1a(plain[:-4]).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("offset", "value", "dialect", "named"),
    [
        (0, 2, V2RAY, "version: 2"),
        (34, 0x09, V2RAY, "options: padding"),
        (35, 0x32, V2RAY, "security: code 2"),
        (35, 0x36, V2RAY, "security: code 6"),
        (35, 0x3F, V2RAY, "security: code 15"),
        (35, 0x34, DOCUMENT, "security: code 4"),
        (36, 1, DOCUMENT, "reserved: 1"),
        (37, 0, V2RAY, "command: 0"),
        (37, 4, V2RAY, "command: 4"),
        (37, 3, DOCUMENT, "command: 3"),
        (42, ord("/"), V2RAY, "domain:"),
        (42, 0xC3, V2RAY, "domain:"),
    ],
)
def test_illegal_field_is_refused_by_name(
    offset: int, value: int, dialect: Dialect, named: str
) -> None:
    plain = bytearray(encode_request_header(attrs.evolve(HEADER, options=0x05), dialect))
    plain[offset] = value
    with pytest.raises(RemoteProtocolError, match=named) as caught:
        decode_request_header(rechecksummed(bytes(plain)), dialect)
    assert not isinstance(caught.value, AuthenticationError)


def test_reserved_byte_is_ignored_on_the_wire() -> None:
    plain = bytearray(encode_request_header(HEADER, V2RAY))
    plain[36] = 0xFF
    assert decode_request_header(rechecksummed(bytes(plain)), V2RAY) == (HEADER, len(plain))


def test_an_unknown_address_type_or_a_bad_checksum_fails_authentication() -> None:
    plain = bytearray(encode_request_header(HEADER, V2RAY))
    plain[40] = 9
    with pytest.raises(AuthenticationError, match="address type: 9"):
        decode_request_header(bytes(plain), V2RAY)
    plain[40] = 2
    plain[-1] ^= 1
    with pytest.raises(AuthenticationError, match="checksum"):
        decode_request_header(bytes(plain), V2RAY)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (b"\x02\x09127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
        (b"\x02\x05[::1]", ipaddress.IPv6Address("::1")),
        (b"\x02\x091.2.3.4.5", "1.2.3.4.5"),
        (b"\x03" + bytes(10) + b"\xff\xff\x7f\0\0\1", ipaddress.IPv4Address("127.0.0.1")),
    ],
)
def test_addresses_in_disguise(address: bytes, host: Host) -> None:
    plain = encode_request_header(HEADER, V2RAY)
    start = plain[:40] + address
    decoded = decode_request_header(rechecksummed(start + plain[-7:]), V2RAY)
    assert decoded is not NEED_DATA
    assert decoded[0].destination.host == host


def test_empty_domain_is_refused() -> None:
    plain = encode_request_header(HEADER, V2RAY)
    with pytest.raises(RemoteProtocolError, match="domain: the name is empty"):
        decode_request_header(rechecksummed(plain[:40] + b"\x02\x00" + plain[-7:]), V2RAY)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"padding": bytes(16)}, "padding"),
        ({"options": 0x09}, "options"),
        ({"destination": Destination(host="a" * 256, port=1)}, "domain"),
        ({"destination": Destination(host="bücher.example", port=1)}, "punycode"),
        ({"destination": Destination(host="a b", port=1)}, "domain"),
    ],
)
def test_headers_that_no_server_accepts_are_not_written(change: dict[str, Any], named: str) -> None:
    with pytest.raises(LocalProtocolError, match=named):
        encode_request_header(attrs.evolve(HEADER, **change), V2RAY)


def test_document_has_no_mux_and_needs_chunks_for_aead() -> None:
    with pytest.raises(LocalProtocolError, match="MUX"):
        encode_request_header(attrs.evolve(HEADER, command=Command.MUX), DOCUMENT)
    with pytest.raises(LocalProtocolError, match="chunk stream"):
        encode_request_header(attrs.evolve(HEADER, options=0), DOCUMENT)


def test_keys_are_not_shown() -> None:
    assert HEADER.body_key.hex() not in repr(HEADER)
    assert "body_key" not in repr(HEADER)
