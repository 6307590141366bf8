"""Conversations with the SOCKS server, each as bytes in and events and bytes out."""

import ipaddress
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.engine import mutated
from tests.fuzz.fuzz_socks import ACCOUNTS, SEEDS, Outcome, check, converse
from tests.kit.vectors import for_each
from trio_vmess.core import NEED_DATA, Destination, Network
from trio_vmess.core.socks import Command, ConnectionClosed, Reply, ReplyCode, Request, SocksServer
from trio_vmess.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError

V4 = ipaddress.IPv4Address("127.0.0.1")
V6 = ipaddress.IPv6Address("2001:db8::1")
GRANTED5 = bytes.fromhex("05000001000000000000")
GRANTED4 = bytes.fromhex("005a000000000000")
REJECTED4 = bytes.fromhex("005b000000000000")
NAME = b"\x03\x0bexample.com"
HELLO = b"\x05\x01\x00"
LOGIN = b"\x05\x01\x02\x01\x03ann\x06secret"


def refused5(code: int) -> bytes:
    return bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0])


def connect(host: object, port: int, user: str | None = None) -> Request:
    assert isinstance(host, str | ipaddress.IPv4Address | ipaddress.IPv6Address)
    return Request(
        command=Command.CONNECT, destination=Destination(host=host, port=port), user=user
    )


@attrs.frozen(kw_only=True)
class Case:
    name: str
    received: bytes
    with_accounts: bool = False
    request: Request | None = None
    sent: bytes
    trailing: bytes = b""
    error: str | None = None


ASSOCIATE = Request(
    command=Command.UDP_ASSOCIATE,
    destination=Destination(host=ipaddress.IPv4Address(0), port=0, network=Network.UDP),
)

CASES = [
    Case(
        name="connect by IPv4, early data",
        received=HELLO + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50early",
        request=connect(V4, 80),
        sent=b"\x05\x00" + GRANTED5,
        trailing=b"early",
    ),
    Case(
        name="connect by IPv6",
        received=HELLO + b"\x05\x01\x00\x04" + V6.packed + b"\x01\xbb",
        request=connect(V6, 443),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="connect by an IPv4 address inside IPv6",
        received=HELLO + b"\x05\x01\x00\x04" + bytes(10) + b"\xff\xff\x7f\x00\x00\x01\x01\xbb",
        request=connect(V4, 443),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="connect by name, and one method of several",
        received=b"\x05\x03\x01\x02\x00" + b"\x05\x01\x00" + NAME + b"\x01\xbb",
        request=connect("example.com", 443),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="a name that is an address",
        received=HELLO + b"\x05\x01\x00\x03\x09127.0.0.1\x00\x50",
        request=connect(V4, 80),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="a name that is an IPv6 address in brackets",
        received=HELLO + b"\x05\x01\x00\x03\x0d[2001:db8::1]\x00\x50",
        request=connect(V6, 80),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="a name in another script",
        received=HELLO + b"\x05\x01\x00\x03\x0bb\xc3\xbccher.org\x00\x50",
        request=connect("xn--bcher-kva.org", 80),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="Tor's resolve is a connect",
        received=HELLO + b"\x05\xf0\x00" + NAME + b"\x00\x50",
        request=connect("example.com", 80),
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="UDP associate",
        received=HELLO + b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
        request=ASSOCIATE,
        sent=b"\x05\x00" + GRANTED5,
    ),
    Case(
        name="password",
        received=LOGIN + b"\x05\x01\x00" + NAME + b"\x00\x50early",
        with_accounts=True,
        request=connect("example.com", 80, "ann"),
        sent=b"\x05\x02\x01\x00" + GRANTED5,
        trailing=b"early",
    ),
    Case(
        name="password in UTF-8",
        received=b"\x05\x01\x02\x01\x03b\xc3\xb6\x05w\xc3\xb6rd\x05\x01\x00" + NAME + b"\x00\x50",
        with_accounts=True,
        request=connect("example.com", 80, "bö"),
        sent=b"\x05\x02\x01\x00" + GRANTED5,
    ),
    Case(
        name="password in Latin-1",
        received=b"\x05\x01\x02\x01\x02b\xf6\x04w\xf6rd\x05\x01\x00" + NAME + b"\x00\x50",
        with_accounts=True,
        request=connect("example.com", 80, "bö"),
        sent=b"\x05\x02\x01\x00" + GRANTED5,
    ),
    Case(
        name="wrong password",
        received=b"\x05\x01\x02\x01\x03ann\x05wrong",
        with_accounts=True,
        sent=b"\x05\x02\x01\xff",
        error="password is wrong",
    ),
    Case(
        name="unknown user",
        received=b"\x05\x01\x02\x01\x03eve\x06secret",
        with_accounts=True,
        sent=b"\x05\x02\x01\xff",
        error="password is wrong",
    ),
    Case(
        name="no user, no password",
        received=b"\x05\x01\x02\x01\x00\x00",
        with_accounts=True,
        sent=b"\x05\x02\x01\xff",
        error="password is wrong",
    ),
    Case(
        name="password message of another version",
        received=b"\x05\x01\x02\x05\x03ann\x06secret",
        with_accounts=True,
        sent=b"\x05\x02\x01\xff",
        error="version 5",
    ),
    Case(
        name="no password offered where one is needed",
        received=HELLO,
        with_accounts=True,
        sent=b"\x05\xff",
        error="the program has none set",
    ),
    Case(
        name="only a password offered where none is needed",
        received=b"\x05\x01\x02",
        sent=b"\x05\xff",
        error="insists on sending one",
    ),
    Case(name="no method at all", received=b"\x05\x00", sent=b"\x05\xff", error="no common"),
    Case(
        name="bind",
        received=HELLO + b"\x05\x02\x00" + NAME + b"\x00\x50",
        sent=b"\x05\x00" + refused5(7),
        error="BIND",
    ),
    Case(
        name="unknown command",
        received=HELLO + b"\x05\x09\x00" + NAME + b"\x00\x50",
        sent=b"\x05\x00" + refused5(7),
        error="unknown command 0x09",
    ),
    Case(
        name="unknown address type",
        received=HELLO + b"\x05\x01\x00\x02",
        sent=b"\x05\x00" + refused5(8),
        error="address type 0x02",
    ),
    Case(
        name="request of another version",
        received=HELLO + b"\x04",
        sent=b"\x05\x00" + refused5(1),
        error="version 4",
    ),
    Case(
        name="empty name",
        received=HELLO + b"\x05\x01\x00\x03\x00\x00\x50",
        sent=b"\x05\x00" + refused5(1),
        error="1 to 255 bytes",
    ),
    Case(
        name="a name with a line break",
        received=HELLO + b"\x05\x01\x00\x03\x04a\r\nb\x00\x50",
        sent=b"\x05\x00" + refused5(1),
        error="not a valid domain name",
    ),
    Case(
        name="a name that is no UTF-8",
        received=HELLO + b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50",
        sent=b"\x05\x00" + refused5(1),
        error="expected UTF-8",
    ),
    Case(
        name="SOCKS4",
        received=b"\x04\x01\x00\x50\x7f\x00\x00\x01someone\x00early",
        request=connect(V4, 80),
        sent=GRANTED4,
        trailing=b"early",
    ),
    Case(
        name="SOCKS4a",
        received=b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00example.com\x00early",
        request=connect("example.com", 443),
        sent=GRANTED4,
        trailing=b"early",
    ),
    Case(
        name="SOCKS4a in V2Ray's reading: any address that begins with 0",
        received=b"\x04\x01\x01\xbb\x00\x01\x02\x03\x00example.com\x00early",
        request=connect("example.com", 443),
        sent=GRANTED4,
        trailing=b"early",
    ),
    Case(
        name="SOCKS4 bind",
        received=b"\x04\x02\x00\x50\x7f\x00\x00\x01\x00",
        sent=REJECTED4,
        error="BIND",
    ),
    Case(
        name="SOCKS4 where a password is needed",
        received=b"\x04\x01\x00\x50\x7f\x00\x00\x01ann\x00",
        with_accounts=True,
        sent=REJECTED4,
        error="SOCKS5",
    ),
    Case(
        name="SOCKS4 with an endless user id",
        received=b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"u" * 256,
        sent=REJECTED4,
        error="user id is too long",
    ),
    Case(
        name="SOCKS4a with an endless name",
        received=b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"d" * 256,
        sent=REJECTED4,
        error="domain is too long",
    ),
    Case(
        name="SOCKS4a without a name",
        received=b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00",
        sent=REJECTED4,
        error="1 to 255 bytes",
    ),
    Case(
        name="HTTP",
        received=b"CONNECT example.com:443 HTTP/1.1\r\n",
        sent=b"",
        error="this looks like an HTTP request",
    ),
    Case(name="TLS", received=b"\x16\x03\x01", sent=b"", error="this looks like TLS"),
    Case(name="neither", received=b"\x00", sent=b"", error="unknown SOCKS version 0"),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def assert_outcome(outcome: Outcome, case: Case) -> None:
    assert outcome.request == case.request
    assert outcome.sent == case.sent
    assert outcome.trailing == case.trailing
    if case.error is None:
        assert outcome.error is None
    else:
        assert outcome.error is not None
        assert case.error in outcome.error


@every_case
def test_conversation(case: Case) -> None:
    assert_outcome(converse([case.received], with_accounts=case.with_accounts), case)


@for_each(CASES, name=lambda case: case.name)
def test_byte_by_byte(case: Case) -> None:
    pieces = [bytes([byte]) for byte in case.received]
    assert_outcome(converse(pieces, with_accounts=case.with_accounts), case)


@given(st.sampled_from(CASES), st.data())
def test_every_split_gives_the_same(case: Case, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(case.received)), max_size=4).map(sorted))
    edges = [0, *cuts, len(case.received)]
    pieces = [case.received[a:b] for a, b in itertools.pairwise(edges)]
    assert_outcome(converse(pieces, with_accounts=case.with_accounts), case)


@for_each([case for case in CASES if case.request is not None], name=lambda case: case.name)
def test_no_prefix_raises(case: Case) -> None:
    size = len(case.received) - len(case.trailing)
    for end in range(size):
        outcome = converse([case.received[:end]], with_accounts=case.with_accounts)
        assert outcome.request is None
        assert outcome.error is None


@given(mutated(SEEDS))
def test_invariants_of_the_fuzz_target(data: bytes) -> None:
    check(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_invariants_hold_for_the_seeds(seed: bytes) -> None:
    check(seed)


def requested(data: bytes) -> SocksServer:
    server = SocksServer()
    server.receive_data(data)
    assert isinstance(server.next_event(), Request)
    server.data_to_send()
    return server


@pytest.mark.parametrize("code", ReplyCode)
def test_reply_codes(code: ReplyCode) -> None:
    socks5 = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    assert socks5.send(Reply(code=code)) == refused5(code)
    socks4 = requested(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
    expected = GRANTED4 if code is ReplyCode.SUCCEEDED else REJECTED4
    assert socks4.send(Reply(code=code)) == expected


@pytest.mark.parametrize(
    ("bound", "in_socks5", "in_socks4"),
    [
        (V4, "050000017f00000104d2", "005a04d27f000001"),
        (V6, "0500000420010db800000000000000000000000104d2", "005a000000000000"),
        ("proxy", "050000030570726f787904d2", "005a000000000000"),
    ],
)
def test_bound_address(
    bound: ipaddress.IPv4Address | ipaddress.IPv6Address | str, in_socks5: str, in_socks4: str
) -> None:
    reply = Reply(code=ReplyCode.SUCCEEDED, bound=Destination(host=bound, port=1234))
    socks5 = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    assert socks5.send(reply).hex() == in_socks5
    socks4 = requested(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
    assert socks4.send(reply).hex() == in_socks4


def test_reply_only_when_asked_and_only_once() -> None:
    granted = Reply(code=ReplyCode.SUCCEEDED)
    server = SocksServer()
    with pytest.raises(LocalProtocolError):
        server.send(granted)
    server = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    server.send(granted)
    with pytest.raises(LocalProtocolError):
        server.send(granted)


def test_what_follows_the_request_is_not_parsed() -> None:
    server = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    server.receive_data(b"\x16one")
    assert server.next_event() is NEED_DATA
    server.send(Reply(code=ReplyCode.SUCCEEDED))
    server.receive_data(b"two")
    assert server.next_event() is NEED_DATA
    assert server.trailing_data == b"\x16onetwo"


def test_a_refusal_lasts() -> None:
    server = SocksServer(accounts=ACCOUNTS)
    server.receive_data(b"\x05\x01\x02\x01\x03ann\x05wrong")
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            server.next_event()
    assert server.data_to_send() == b"\x05\x02\x01\xff"
    assert server.data_to_send() == b""


def test_a_failed_request_ends_the_conversation() -> None:
    server = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    server.send(Reply(code=ReplyCode.HOST_UNREACHABLE))
    with pytest.raises(RemoteProtocolError, match="HOST_UNREACHABLE"):
        server.next_event()


BEFORE_A_MESSAGE = (b"", b"\x05\x01\x02", b"\x05\x01\x02\x01\x03ann\x06secret")
INSIDE_A_MESSAGE = (
    b"\x05",
    b"\x05\x01",
    b"\x05\x01\x02\x01\x03ann",
    b"\x05\x01\x02\x01\x03ann\x06secret\x05\x01",
    b"\x04\x01",
)


@pytest.mark.parametrize("explicitly", [True, False])
@pytest.mark.parametrize("received", [*BEFORE_A_MESSAGE, *INSIDE_A_MESSAGE])
def test_the_end_before_the_request(received: bytes, explicitly: bool) -> None:
    server = SocksServer(accounts={"ann": "secret"})
    if received:
        server.receive_data(received)
    assert server.next_event() is NEED_DATA
    if explicitly:
        server.receive_eof()
    else:
        server.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="ended"):
        server.receive_data(b"x")
    if received in BEFORE_A_MESSAGE:
        assert server.next_event() == ConnectionClosed()
        assert server.next_event() is NEED_DATA
    else:
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="closed inside a message"):
                server.next_event()


def test_the_end_after_the_request_leaves_the_early_data() -> None:
    server = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50early")
    server.receive_eof()
    assert server.next_event() is NEED_DATA
    assert server.send(Reply(code=ReplyCode.SUCCEEDED)) == refused5(ReplyCode.SUCCEEDED)
    assert server.trailing_data == b"early"
    with pytest.raises(LocalProtocolError, match="ended"):
        server.receive_data(b"x")


def test_an_empty_mapping_of_accounts_admits_no_user() -> None:
    server = SocksServer(accounts={})
    server.receive_data(b"\x05\x01\x02\x01\x00\x00")
    with pytest.raises(AuthenticationError):
        server.next_event()


def test_the_buffer_is_bounded() -> None:
    server = requested(HELLO + b"\x05\x01\x00" + NAME + b"\x00\x50")
    server.receive_data(bytes(1 << 20))
    with pytest.raises(RemoteProtocolError, match="limit"):
        server.receive_data(b"x")
