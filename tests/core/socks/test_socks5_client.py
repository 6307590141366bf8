"""Conversations of the SOCKS client, as bytes, and with our own server."""

import ipaddress

import attrs
import pytest

from tests.kit.vectors import for_each
from trio_vmess.core import NEED_DATA, Destination, NeedData, Network
from trio_vmess.core.socks import (
    Command,
    ConnectionClosed,
    Reply,
    ReplyCode,
    Request,
    SocksClient,
    SocksServer,
)
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

TARGET = Destination(host="example.com", port=443)
V6 = Destination(host=ipaddress.ip_address("2001:db8::1"), port=53)
BOUND = Destination(host=ipaddress.ip_address("192.0.2.7"), port=4711)
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
LOGIN = b"\x01\x03ann\x06secret"
GRANTED = b"\x05\x00\x00\x01\xc0\x00\x02\x07\x12\x67"


@attrs.frozen(kw_only=True)
class Case:
    """What a server sends; what the client sends to it, and makes of it."""

    name: str
    received: bytes
    with_login: bool = False
    sent: bytes
    reply: Reply | None = None
    trailing: bytes = b""
    error: str | None = None


CASES = [
    Case(
        name="no password, early data",
        received=b"\x05\x00" + GRANTED + b"early",
        sent=b"\x05\x01\x00" + REQUEST,
        reply=Reply(code=ReplyCode.SUCCEEDED, bound=BOUND),
        trailing=b"early",
    ),
    Case(
        name="a password",
        received=b"\x05\x02\x01\x00" + GRANTED,
        with_login=True,
        sent=b"\x05\x02\x00\x02" + LOGIN + REQUEST,
        reply=Reply(code=ReplyCode.SUCCEEDED, bound=BOUND),
    ),
    Case(
        name="a password that nobody asks for",
        received=b"\x05\x00" + GRANTED,
        with_login=True,
        sent=b"\x05\x02\x00\x02" + REQUEST,
        reply=Reply(code=ReplyCode.SUCCEEDED, bound=BOUND),
    ),
    Case(
        name="a password status under SOCKS's own version",
        received=b"\x05\x02\x05\x00" + GRANTED,
        with_login=True,
        sent=b"\x05\x02\x00\x02" + LOGIN + REQUEST,
        reply=Reply(code=ReplyCode.SUCCEEDED, bound=BOUND),
    ),
    Case(
        name="bound to a name",
        received=b"\x05\x00\x05\x00\x00\x03\x01a\x00\x50",
        sent=b"\x05\x01\x00" + REQUEST,
        reply=Reply(code=ReplyCode.SUCCEEDED, bound=Destination(host="a", port=80)),
    ),
    Case(
        name="refused",
        received=b"\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
        sent=b"\x05\x01\x00" + REQUEST,
        reply=Reply(code=ReplyCode.CONNECTION_REFUSED),
        trailing=b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
    ),
    Case(
        name="refused for a reason of the server's own",
        received=b"\x05\x00\x05\x5b",
        sent=b"\x05\x01\x00" + REQUEST,
        reply=Reply(code=ReplyCode.GENERAL_FAILURE),
        trailing=b"\x05\x5b",
    ),
    Case(
        name="HTTP", received=b"HTTP/1.1 400", sent=b"\x05\x01\x00", error="does not speak SOCKS5"
    ),
    Case(name="no common method", received=b"\x05\xff", sent=b"\x05\x01\x00", error="none is set"),
    Case(name="GSSAPI", received=b"\x05\x01", sent=b"\x05\x01\x00", error="method 0x01"),
    Case(
        name="a password nobody offered",
        received=b"\x05\x02",
        sent=b"\x05\x01\x00",
        error="method 0x02",
    ),
    Case(
        name="a wrong password",
        received=b"\x05\x02\x01\x01",
        with_login=True,
        sent=b"\x05\x02\x00\x02" + LOGIN,
        error="does not accept",
    ),
    Case(
        name="a reply in another version",
        received=b"\x05\x00\x04\x00",
        sent=b"\x05\x01\x00" + REQUEST,
        error="version 4",
    ),
    Case(
        name="a reply with an unknown address type",
        received=b"\x05\x00\x05\x00\x00\x02",
        sent=b"\x05\x01\x00" + REQUEST,
        error="address type",
    ),
]


def client(*, with_login: bool = False) -> SocksClient:
    user, password = ("ann", "secret") if with_login else (None, None)
    return SocksClient(command=Command.CONNECT, destination=TARGET, user=user, password=password)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@for_each(CASES, name=lambda case: case.name)
def test_conversation(case: Case, step: int) -> None:
    conversation = client(with_login=case.with_login)
    sent = conversation.data_to_send()
    event: Reply | NeedData = NEED_DATA
    received = memoryview(case.received)
    error: str | None = None
    for start in range(0, len(received), step):
        conversation.receive_data(received[start : start + step])
        try:
            if event is NEED_DATA:
                event = conversation.next_event()
        except RemoteProtocolError as exc:
            error = str(exc)
        sent += conversation.data_to_send()
    assert sent == case.sent
    if case.error is not None:
        assert error is not None
        assert case.error in error
        with pytest.raises(RemoteProtocolError, match=case.error):
            conversation.next_event()
    else:
        assert (error, event) == (None, case.reply)
        assert conversation.trailing_data == case.trailing


def test_a_refusal_is_final() -> None:
    conversation = client()
    conversation.receive_data(b"\x05\x00\x05\x02")
    assert conversation.next_event() == Reply(code=ReplyCode.NOT_ALLOWED)
    with pytest.raises(RemoteProtocolError, match="refused"):
        conversation.next_event()


@pytest.mark.parametrize("explicitly", [True, False])
@pytest.mark.parametrize("received", [b"", b"\x05", b"\x05\x00", b"\x05\x00" + GRANTED[:-1]])
def test_the_end_before_the_reply(received: bytes, explicitly: bool) -> None:
    conversation = client()
    if received:
        conversation.receive_data(received)
    if explicitly:
        conversation.receive_eof()
    else:
        conversation.receive_data(b"")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="closed the connection without an answer"):
            conversation.next_event()
    with pytest.raises(LocalProtocolError, match="ended"):
        conversation.receive_data(GRANTED)


def test_nothing_is_parsed_behind_the_reply() -> None:
    conversation = client()
    conversation.receive_data(b"\x05\x00" + GRANTED)
    assert isinstance(conversation.next_event(), Reply)
    conversation.receive_data(b"\x05\x00")
    assert conversation.next_event() is NEED_DATA
    assert conversation.trailing_data == b"\x05\x00"


@pytest.mark.parametrize("with_login", [False, True])
@pytest.mark.parametrize("command", [Command.CONNECT, Command.UDP_ASSOCIATE])
@pytest.mark.parametrize("target", [TARGET, BOUND, V6])
def test_with_our_own_server(with_login: bool, command: Command, target: Destination) -> None:
    accounts = {"ann": "secret"} if with_login else None
    server = SocksServer(accounts=accounts)
    ours = SocksClient(command=command, destination=target, user="ann", password="secret")
    while (request := _next(server, ours)) is NEED_DATA:
        pass
    assert request.command is command
    assert (request.destination.host, request.destination.port) == (target.host, target.port)
    ours.receive_data(server.send(Reply(code=ReplyCode.SUCCEEDED, bound=V6)) + b"data")
    network = Network.UDP if command is Command.UDP_ASSOCIATE else Network.TCP
    bound = attrs.evolve(V6, network=network)
    assert ours.next_event() == Reply(code=ReplyCode.SUCCEEDED, bound=bound)
    assert ours.trailing_data == b"data"


def _next(server: SocksServer, ours: SocksClient) -> Request | NeedData:
    assert ours.next_event() is NEED_DATA
    server.receive_data(ours.data_to_send())
    event = server.next_event()
    assert not isinstance(event, ConnectionClosed)
    if answer := server.data_to_send():
        ours.receive_data(answer)
    return event


@pytest.mark.parametrize(
    ("user", "password"), [("", "x"), ("x", ""), ("x" * 256, "x"), ("x", None)]
)
def test_credentials_that_do_not_fit_a_message_are_refused(user: str, password: str | None) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        SocksClient(command=Command.CONNECT, destination=TARGET, user=user, password=password)
