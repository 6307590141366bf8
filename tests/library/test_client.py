"""What programs import: a node in their nursery, and a stream through it."""

import ipaddress
import secrets

import pytest
import trio

from tests.kit.origin import start_echo
from trio_vmess import Account, Destination, Node, VMessError, open_vmess_stream, serve
from trio_vmess.config import LogSettings
from trio_vmess.config.quickstart import server_config
from trio_vmess.core import parse_endpoint

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


async def test_a_stream_through_a_node() -> None:
    user_id = secrets.token_bytes(16)
    config = server_config(
        listen=LOOPBACK, port=0, user_id=user_id, allow_private=True, log=LogSettings()
    )
    async with start_echo() as origin, trio.open_nursery() as nursery:
        node: Node = await nursery.start(serve, config)
        server = parse_endpoint(node.listening[0].address)
        stream = await open_vmess_stream(
            (str(server[0]), server[1]),
            Account(user_id=user_id),
            Destination(host=LOOPBACK, port=origin.port),
        )
        async with stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await stream.send_eof()
            assert await stream.receive_some() == b""
        node.stop(grace=1)


async def test_an_illegal_destination_is_told_and_nothing_stays_open() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(VMessError, match="domain"):
            await open_vmess_stream(
                ("127.0.0.1", port),
                Account(user_id=bytes(16)),
                Destination(host="no domain", port=80),
            )
        stream = await listener.accept()
        async with stream:
            assert not await stream.receive_some()
