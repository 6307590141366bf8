"""Fuzz the SOCKS server and the datagram codec."""

from collections.abc import Iterable

import attrs

from tests.fuzz.hosts import check_host
from trio_vmess.core import NEED_DATA
from trio_vmess.core.socks import (
    ConnectionClosed,
    Reply,
    ReplyCode,
    Request,
    SocksServer,
    decode_datagram,
    encode_datagram,
    split_datagram,
)
from trio_vmess.errors import RemoteProtocolError

ACCOUNTS = {"ann": "secret", "bö": "wörd"}

SEEDS = (
    b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50early",
    b"\x05\x02\x00\x02\x01\x03ann\x06secret\x05\x01\x00\x03\x0bexample.com\x01\xbb",
    b"\x05\x01\x02\x01\x03ann\x05wrong",
    b"\x05\x01\x00\x05\x03\x00\x04" + bytes(16) + b"\x00\x00",
    b"\x05\x01\x00\x05\x02\x00\x03\x09127.0.0.1\x00\x50",
    b"\x05\x01\x00\x05\xf0\x00\x03\x04name\x00\x00",
    b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00early",
    b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.com\x00early",
    b"\x00\x00\x00\x01\x7f\x00\x00\x01\x00\x35query",
    b"\x00\x00\x00\x03\x0bexample.com\x00\x35query",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
)


@attrs.frozen(kw_only=True)
class Outcome:
    """All that can be seen of a conversation."""

    request: Request | None
    sent: bytes
    trailing: bytes
    error: str | None


def converse(pieces: Iterable[bytes], *, with_accounts: bool) -> Outcome:
    """Play a program that sends these pieces, and a shell that grants its request."""
    server = SocksServer(accounts=ACCOUNTS if with_accounts else None)
    sent = b""
    request: Request | None = None
    error: str | None = None
    # An empty piece would be the end of the stream.
    for piece in filter(None, pieces):
        server.receive_data(piece)
        if error is not None:
            continue
        try:
            event = server.next_event()
        except RemoteProtocolError as exc:
            error = str(exc)
        else:
            if isinstance(event, ConnectionClosed):
                raise ValueError("the connection was closed before its end")
            if event is not NEED_DATA:
                if request is not None:
                    raise ValueError("two requests in one conversation")
                request = event
        sent += server.data_to_send()
    trailing = b""
    if request is not None:
        trailing = server.trailing_data
        sent += server.send(Reply(code=ReplyCode.SUCCEEDED, bound=None))
    return Outcome(request=request, sent=sent, trailing=trailing, error=error)


def check_end(data: bytes, *, with_accounts: bool) -> None:
    """End the stream after `data`: without a request before it, the server must notice."""
    server = SocksServer(accounts=ACCOUNTS if with_accounts else None)
    if data:
        server.receive_data(data)
    server.receive_eof()
    try:
        first, second = server.next_event(), server.next_event()
    except RemoteProtocolError:
        return
    if first is NEED_DATA or second is not NEED_DATA:
        raise ValueError(f"the end of the stream came out as {first}, {second}")


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; how the bytes are split changes nothing; the
    end of the stream is noticed; every host that can be asked for can be passed on; and a datagram
    that can be read can be written.
    """
    for with_accounts in (False, True):
        whole = converse([data], with_accounts=with_accounts)
        single = converse(
            [data[index : index + 1] for index in range(len(data))], with_accounts=with_accounts
        )
        if data and whole != single:
            raise ValueError(f"the split matters: {whole} and {single}")
        if whole.request is not None and not data.endswith(whole.trailing):
            raise ValueError(f"early data was altered: {whole}")
        if whole.request is not None and whole.error is not None:
            raise ValueError(f"granted and refused: {whole}")
        if whole.request is not None and with_accounts and whole.request.user not in ACCOUNTS:
            raise ValueError(f"nobody asked: {whole}")
        if whole.request is not None:
            check_host(whole.request.destination.host)
        check_end(data, with_accounts=with_accounts)
    try:
        datagram = decode_datagram(data)
    except RemoteProtocolError:
        return
    destination = datagram.destination
    check_host(destination.host)
    if split_datagram(data) != (data[3 : len(data) - len(datagram.payload)], datagram.payload):
        raise ValueError(f"{data!r} is parted elsewhere than it is read")
    again = encode_datagram(destination.host, destination.port, datagram.payload)
    if decode_datagram(again) != datagram:
        raise ValueError(f"{datagram} does not survive a round trip")
