"""An HTTPS origin on loopback, with HTTP/1.1 and HTTP/2, for clients that are libraries.

Its paths are those of `tests.kit.http_origin`.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import h2.config
import h2.connection
import h2.events
import trio

from tests.kit.certificates import authority, issue
from tests.kit.http_origin import DOWNLOAD_SIZE, reply_to, serve_http
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.origin import Origin, start_tcp_origin
from tests.kit.pattern import pattern_pieces

_READ_SIZE: Final = 65_536


def trusting_context() -> ssl.SSLContext:
    """Return a client's context that accepts the origin's certificate."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@asynccontextmanager
async def start_https(*, http2: bool = False) -> AsyncIterator[Origin]:
    """Serve HTTPS; with `http2` to clients that offer it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issue(IPV4_LOOPBACK).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    async with start_tcp_origin(partial(_serve_tls, context)) as origin:
        yield origin


async def _serve_tls(context: ssl.SSLContext, stream: trio.abc.HalfCloseableStream) -> None:
    secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    await secure.do_handshake()
    if secure.selected_alpn_protocol() == "h2":
        await _serve_http2(secure)
    else:
        await serve_http(DOWNLOAD_SIZE, secure)


async def _serve_http2(stream: trio.abc.Stream) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    requests: dict[int, tuple[dict[str, str], bytearray]] = {}
    to_send: dict[int, bytearray] = {}
    await stream.send_all(connection.data_to_send())
    while data := await stream.receive_some(_READ_SIZE):
        for event in connection.receive_data(data):
            match event:
                case h2.events.RequestReceived(stream_id=int(number), headers=headers):
                    fields = {name.decode(): value.decode() for name, value in headers or ()}
                    requests[number] = fields, bytearray()
                case h2.events.DataReceived(stream_id=int(number), data=bytes(part)):
                    requests[number][1].extend(part)
                    connection.acknowledge_received_data(event.flow_controlled_length, number)
                case h2.events.StreamEnded(stream_id=int(number)):
                    fields, body = requests.pop(number)
                    reply = reply_to(fields[":method"], fields[":path"], bytes(body), 0)
                    connection.send_headers(number, [(":status", str(reply.status))])
                    is_size = isinstance(reply.body, int)
                    pieces = pattern_pieces(reply.body) if is_size else (reply.body,)
                    to_send[number] = bytearray(b"".join(pieces))
                case _:
                    pass
        for number, rest in list(to_send.items()):
            _send_what_fits(connection, number, rest)
            if not rest:
                connection.end_stream(number)
                del to_send[number]
        await stream.send_all(connection.data_to_send())


def _send_what_fits(connection: h2.connection.H2Connection, number: int, rest: bytearray) -> None:
    while rest:
        size = connection.local_flow_control_window(number)
        size = min(size, connection.max_outbound_frame_size, len(rest))
        if size <= 0:
            return
        connection.send_data(number, bytes(rest[:size]))
        del rest[:size]
