"""Fuzz what we are to a proxy behind us: a client of SOCKS5, or of HTTP's CONNECT.

The first byte of an input says which; the rest is what the proxy sends:

    's'   SOCKS without a password
    'p'   SOCKS with a user and a password
    'u'   SOCKS, for datagrams
    'h'   HTTP
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.http import Established, HttpConnectClient, TunnelRefused
from trio_vmess.core.socks import Command, Reply, ReplyCode, SocksClient
from trio_vmess.errors import RemoteProtocolError

_DESTINATION: Final = Destination(host="example.com", port=443)

Client = SocksClient | HttpConnectClient

CLIENTS: Final[Mapping[bytes, Callable[[], Client]]] = {
    b"s": lambda: SocksClient(command=Command.CONNECT, destination=_DESTINATION),
    b"p": lambda: SocksClient(
        command=Command.CONNECT, destination=_DESTINATION, user="ann", password="secret"
    ),
    b"u": lambda: SocksClient(command=Command.UDP_ASSOCIATE, destination=_DESTINATION),
    b"h": lambda: HttpConnectClient(destination=_DESTINATION, user="ann", password="secret"),
}

SEEDS: Final = (
    b"s\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38tunnel",
    b"s\x05\x00\x05\x00\x00\x03\x0bexample.com\x01\xbb",
    b"s\x05\x00\x05\x05",
    b"s\x05\x00\x05\xf0\x00\x01",
    b"s\x05\x02",
    b"s\x05\xff",
    b"s\x04\x5a",
    b"p\x05\x02\x01\x00\x05\x00\x00\x04" + bytes(18) + b"tunnel",
    b"p\x05\x02\x01\x01",
    b"p\x05\x00\x05\x00\x00\x01" + bytes(6),
    b"u\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38",
    b"hHTTP/1.1 200 Connection established\r\n\r\ntunnel",
    b"hHTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\ntunnel",
    b"hHTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\ntext",
    b"hHTTP/1.1 301\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"hHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"h\x05\x00",
)
TOKENS: Final = (b"HTTP/1.1 ", b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n")


@attrs.define(kw_only=True)
class Outcome:
    """All that can be seen of a conversation.

    Attributes:
        answer: what became of the request.
        sent: what went to the proxy.
        tunnel: what came through the tunnel.
        failed: the proxy did not keep to its protocol.
    """

    answer: Reply | Established | TunnelRefused | None = None
    sent: bytes = b""
    tunnel: bytes = b""
    failed: bool = False

    @property
    def opened(self) -> bool:
        """There is a tunnel."""
        answer = self.answer
        return isinstance(answer, Established) or (
            isinstance(answer, Reply) and answer.code is ReplyCode.SUCCEEDED
        )


def converse(client: Client, pieces: Iterable[bytes]) -> Outcome:
    """Play a proxy that sends these pieces and ends its stream."""
    outcome = Outcome(sent=client.data_to_send())
    rest = iter([*filter(None, pieces), b""])
    try:
        while outcome.answer is None:
            event = client.next_event()
            outcome.sent += client.data_to_send()
            if event is not NEED_DATA:
                outcome.answer = event
            elif piece := next(rest):
                client.receive_data(piece)
            else:
                client.receive_eof()
    except RemoteProtocolError:
        outcome.failed = True
        outcome.sent += client.data_to_send()
    except StopIteration:
        raise ValueError("the end of the stream went unnoticed") from None
    if outcome.opened:
        outcome.tunnel = client.trailing_data + b"".join(rest)
        if client.next_event() is not NEED_DATA:
            raise ValueError("an event behind the tunnel's beginning")
    return outcome


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; how the bytes are split changes nothing; the
    end of the stream is noticed; the password goes to nobody who did not ask for it; and the bytes
    of the tunnel come through as they are.
    """
    new_client = CLIENTS.get(data[:1])
    if new_client is None:
        return
    wire = data[1:]
    whole = converse(new_client(), [wire])
    for step in (1, 3):
        pieces = [wire[start : start + step] for start in range(0, len(wire), step)]
        split = converse(new_client(), pieces)
        if whole != split:
            raise ValueError(f"the split matters: {whole} and {split}")
    if not wire.endswith(whole.tunnel):
        raise ValueError(f"the tunnel's bytes were altered: {whole}")
    if data[:1] != b"h" and b"secret" in whole.sent and wire[:2] != b"\x05\x02":
        raise ValueError(f"nobody asked for the password: {whole}")
    if whole.failed is (whole.answer is not None):
        raise ValueError(f"neither an answer nor a failure: {whole}")
