"""Payload in messages: what we write, and what others may write instead."""

import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given

from trio_vmess.core.carriage.grpc import MessageReader, encode_messages
from trio_vmess.errors import RemoteProtocolError


def read(data: bytes, step: int) -> bytes:
    """Read messages that arrive in pieces."""
    reader, payload = MessageReader(), bytearray()
    for start in range(0, len(data), step):
        piece = bytearray(data[start : start + step])
        size = reader.unframe(memoryview(piece), len(piece))
        payload += piece[:size]
    assert reader.is_between_messages
    return bytes(payload)


def message(*fields: bytes) -> bytes:
    body = b"".join(fields)
    return struct.pack(">BL", 0, len(body)) + body


def element(payload: bytes) -> bytes:
    assert len(payload) < 128
    return b"\x0a" + bytes((len(payload),)) + payload


@pytest.mark.parametrize(
    ("payload", "head"),
    [
        (b"x", "00 00000003 0a 01"),
        (bytes(127), "00 00000081 0a 7f"),
        (bytes(128), "00 00000083 0a 8001"),
        (bytes(16_384), "00 00004004 0a 808001"),
        (bytes(32_768), "00 00008004 0a 808002"),
    ],
)
def test_a_message_has_one_element(payload: bytes, head: str) -> None:
    assert encode_messages(payload) == bytes.fromhex(head) + payload


def test_nothing_is_no_message() -> None:
    assert encode_messages(b"") == b""


@given(st.binary(max_size=300), st.integers(1, 3), st.integers(1, 40))
def test_what_is_written_is_read(payload: bytes, count: int, step: int) -> None:
    assert read(encode_messages(payload) * count, step) == payload * count


def test_large_payloads_are_cut() -> None:
    payload = bytes(range(256)) * 400
    wire = encode_messages(payload)
    assert len(wire) == len(payload) + 3 * 9 + 8
    for step in (1000, 32_768, len(wire)):
        assert read(wire, step) == payload


@pytest.mark.parametrize("step", [1, 2, 5, 8, 1000])
def test_other_legal_forms_are_read(step: int) -> None:
    wire = (
        message()
        + message(element(b"ab"), element(b""), element(b"cd"))
        + message(b"\x10\x96\x01", element(b"ef"), b"\x12\x03zzz", b"\x1d1234", b"\x2112345678")
        + message(b"\x0a\x82\x80\x80\x00gh")
    )
    assert read(wire, step) == b"abcdefgh"


@pytest.mark.parametrize(
    "wire",
    [
        b"\x01\0\0\0\x03\x0a\x01x",
        b"\0\xff\xff\xff\xff",
        message(b"\x0a\x05x"),
        message(b"\x0a\xff\xff\xff\xff\x0f"),
        message(b"\x0b"),
        message(b"\x0c"),
        message(b"\x0a" + b"\x80" * 11),
        message(b"\x80" * 11),
    ],
)
def test_what_is_no_message_is_refused(wire: bytes) -> None:
    for step in (1, 1000):
        with pytest.raises(RemoteProtocolError):
            read(wire + bytes(20), step)


def test_a_message_that_is_cut_off_is_noticed() -> None:
    whole = encode_messages(b"payload")
    for size in range(1, len(whole)):
        reader = MessageReader()
        reader.unframe(memoryview(bytearray(whole[:size])), size)
        assert not reader.is_between_messages
