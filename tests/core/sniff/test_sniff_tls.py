"""TLS: ClientHellos of the `ssl` module in any pieces, and what is almost one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.client_hello import (
    KINDS,
    build_handshake,
    handshake_of,
    make_hello,
    name_extension,
    to_records,
)
from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import SNIFF_SIZE_MAX, Sniffed, sniff

NAME = "Some-Host.Example.COM"
TLS = Sniffed(protocol="tls")
FOUND = Sniffed(protocol="tls", domain="some-host.example.com")
FILLING = (0xFDE8, bytes(40))


def hello(*extensions: tuple[int, bytes], **settings: bytes) -> bytes:
    return to_records(build_handshake(extensions, **settings))


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_is_found(kind: str) -> None:
    assert sniff(make_hello(NAME, KINDS[kind])) == FOUND


@pytest.mark.parametrize("kind", KINDS)
def test_tls_without_a_name(kind: str) -> None:
    assert sniff(make_hello(None, KINDS[kind])) == TLS


@pytest.mark.parametrize("kind", ["default", "one-cipher"])
def test_every_beginning_waits_or_tells_the_same(kind: str) -> None:
    data = make_hello(NAME, KINDS[kind])
    verdicts = [sniff(data[:size]) for size in range(len(data) + 1)]
    known = verdicts.index(FOUND)
    assert set(verdicts[:known]) == {NEED_DATA}
    assert set(verdicts[known:]) == {FOUND}


@given(cuts=st.sets(st.integers(1, 240), max_size=20), tail=st.binary(max_size=20))
def test_records_may_end_anywhere(cuts: set[int], tail: bytes) -> None:
    handshake = handshake_of(make_hello(NAME, KINDS["1.3"]))
    records = to_records(handshake, {cut for cut in cuts if cut < len(handshake)})
    assert sniff(records + tail) == FOUND
    assert sniff(records[:-150]) in (FOUND, NEED_DATA)


def test_one_record_for_each_byte() -> None:
    handshake = build_handshake([name_extension(b"a.example")])
    assert sniff(to_records(handshake, range(len(handshake)))) == Sniffed(
        protocol="tls", domain="a.example"
    )


def test_the_verdict_does_not_wait_for_what_follows_the_name() -> None:
    data = hello(name_extension(b"a.example"), (51, bytes(16_000)))
    assert sniff(data[:200]) == Sniffed(protocol="tls", domain="a.example")


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        pytest.param(hello(), TLS, id="no extension"),
        pytest.param(to_records(build_handshake(None)), TLS, id="none at all"),
        pytest.param(hello(FILLING, FILLING), TLS, id="others"),
        pytest.param(hello(FILLING, name_extension(b"b.example")), "b.example", id="second"),
        pytest.param(hello(name_extension(b"b.example", kind=1)), TLS, id="another kind of name"),
        pytest.param(hello(name_extension(b"b.example."), FILLING), TLS, id="dot"),
        pytest.param(hello(name_extension(b"192.0.2.1")), TLS, id="IPv4"),
        pytest.param(hello(name_extension(b"2001:db8::1")), TLS, id="IPv6"),
        pytest.param(hello(name_extension(b"a b.example")), TLS, id="space"),
        pytest.param(hello(name_extension(b"\xff.example")), TLS, id="not ASCII"),
        pytest.param(hello(name_extension(b"x\x00.example")), TLS, id="zero"),
        pytest.param(hello(name_extension(b"")), TLS, id="empty name"),
        pytest.param(hello(name_extension(b"a" * 254)), TLS, id="long name"),
        pytest.param(hello((0, b"")), None, id="empty extension"),
        pytest.param(hello((0, b"\x00\x09\x00\x00\x01a")), None, id="list too long"),
        pytest.param(hello((0, b"\x00\x04\x00\x00\x01ab")), None, id="list too short"),
        pytest.param(hello((0, b"\x00\x04\x00\x00\x09a")), None, id="name too long"),
        pytest.param(hello(FILLING, session_id=bytes(33)), None, id="session id"),
        pytest.param(hello(FILLING, suites=b""), None, id="no cipher"),
        pytest.param(hello(FILLING, suites=b"\x13\x01\x13"), None, id="odd ciphers"),
        pytest.param(hello(FILLING, version=b"\x02\x00"), None, id="version"),
        pytest.param(to_records(b"\x02" + build_handshake(())[1:]), None, id="ServerHello"),
        pytest.param(to_records(b"\x01\x00\x00\x04\x03\x03\x00\x00"), None, id="too short"),
        pytest.param(hello(FILLING)[:40] + b"\x15" * 200, None, id="ends in rubbish"),
        pytest.param(b"\x16\x03\x01\x00\x00", None, id="empty record"),
        pytest.param(b"\x16\x03\x01\x40\x01", None, id="large record"),
        pytest.param(b"\x16\x02", None, id="major version"),
        pytest.param(b"\x17\x03\x03\x00\x10", None, id="application data"),
        pytest.param(b"\x16\x03\x01\x00\x20\x01\x00\x00", NEED_DATA, id="beginning"),
        pytest.param(hello((51, bytes(SNIFF_SIZE_MAX)), FILLING), None, id="too long"),
    ],
)
def test_what_is_sound_and_what_is_not(data: bytes, verdict: object) -> None:
    if isinstance(verdict, str):
        verdict = Sniffed(protocol="tls", domain=verdict)
    assert sniff(data) == verdict


def test_an_alert_between_two_records_ends_it() -> None:
    handshake = build_handshake([FILLING, name_extension(b"a.example")])
    first = to_records(handshake[:60])
    assert sniff(first) is NEED_DATA
    assert sniff(first + b"\x15\x03\x01\x00\x02\x01\x00") is None
