"""Other protocols that are taken to a VMess port."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.vmess.accounts import LOVE, NOW, OLD
from trio_vmess.core.vmess.diagnosis import diagnose
from trio_vmess.core.vmess.foreign_protocol import recognise
from trio_vmess.core.vmess.users import UserRegistry
from trio_vmess.errors import Refusal


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes.fromhex("160301020001 0001fc0303 0102030405"), "a TLS ClientHello"),
        (bytes.fromhex("160303007f01 00"), "a TLS ClientHello"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "an HTTP request"),
        (b"CONNECT example.", "an HTTP request"),
        (b"PRI * HTTP/2.0\r\n", "an HTTP request"),
        (b"SSH-2.0-OpenSSH_9.6", "an SSH banner"),
        (b"PROXY TCP4 192.0", "a PROXY protocol v1 header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "a PROXY protocol v2 header"),
        (b"\5\1\0", "a SOCKS5 greeting"),
        (b"\5\2\0\2", "a SOCKS5 greeting"),
        (b"\5\1\0\5\1\0\1\x7f\0\0\1\0\x50", "a SOCKS5 greeting"),
        (b"\5\1\2\1\4user\4pass", "a SOCKS5 greeting"),
        (b"\4\1\0\x50\x7f\0\0\1\0", "a SOCKS4 request"),
        (b"\4\2\0\x50\0\0\0\1root\0example", "a SOCKS4 request"),
    ],
)
def test_foreign_protocols_are_recognised(data: bytes, words: str) -> None:
    assert recognise(data) == words
    found = diagnose(data, UserRegistry([LOVE]), now=NOW)
    assert found.reason is Refusal.FOREIGN_PROTOCOL
    assert found.message.startswith(f"this is {words}, not VMess; ")
    assert (found.account, found.clock_offset) == (None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16",
        b"\x16\x03\x01",
        bytes.fromhex("160302000002 0001fc0303 0102030405"),
        bytes.fromhex("160502000001 0001fc0303 0102030405"),
        b"GETTING / around",
        b"\5\1",
        b"\5\0\0",
        b"\5\3\0\1",
        b"\5\1\0\6\1\0\1\x7f",
        b"\4\1\0\x50\x7f\0\0\1root",
        b"\4\3\0\x50\x7f\0\0\1\0",
        b"\4\1\0\x50\x7f\0\0\1\xffx\0aaaaa",
        b"\r\n\r\n\0\r\nQUIT",
    ],
)
def test_data_that_resembles_a_foreign_protocol_is_not_recognised(data: bytes) -> None:
    assert recognise(data) is None


@given(st.binary(max_size=64))
def test_nothing_raises(data: bytes) -> None:
    found = diagnose(data, UserRegistry([LOVE, OLD]), now=NOW)
    assert found.reason in (Refusal.FOREIGN_PROTOCOL, Refusal.UNKNOWN_USER)
