"""A client and a server of this project, and longer chains of them, over real sockets."""

import pytest
import trio

from tests.kit.exchanges import (
    check_all,
    check_echo,
)
from tests.kit.nodes import start_chain_node, start_client_node, start_server_node
from tests.kit.origin import (
    Origin,
    start_delayed_reply,
    start_echo,
    start_source,
)
from tests.kit.pattern import pattern
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.waiting import wait_until
from trio_vmess.config import DokodemoInboundSettings
from trio_vmess.core import Network, parse_host
from trio_vmess.core.vmess import DOCUMENT, SECURITY_WORDS

OTHER_USER = "00000000-1111-2222-3333-444444444444"
THIRD_USER = "11111111-1111-2222-3333-444444444444"


@pytest.mark.parametrize("alter_id", [0, 4])
@pytest.mark.parametrize("security", SECURITY_WORDS)
async def test_every_cipher(security: str, alter_id: int) -> None:
    async with (
        start_server_node(ServerSpec(alter_id=alter_id)) as server,
        start_client_node(
            ClientSpec(server_port=server.port, alter_id=alter_id, security=security)
        ) as client,
    ):
        await check_all(client.port)


@pytest.mark.parametrize("global_padding", [False, True])
@pytest.mark.parametrize("authenticated_length", [False, True])
@pytest.mark.parametrize("security", ["aes-128-gcm", "chacha20-poly1305"])
async def test_every_option(
    security: str, authenticated_length: bool, global_padding: bool
) -> None:
    async with (
        start_server_node() as server,
        start_client_node(
            ClientSpec(
                server_port=server.port,
                security=security,
                authenticated_length=authenticated_length,
                global_padding=global_padding,
            )
        ) as client,
    ):
        await check_all(client.port)


@pytest.mark.parametrize("alter_id", [0, 4])
@pytest.mark.parametrize("security", SECURITY_WORDS)
async def test_the_document_dialect(security: str, alter_id: int) -> None:
    async with (
        start_server_node(ServerSpec(alter_id=alter_id), dialect=DOCUMENT) as server,
        start_client_node(
            ClientSpec(server_port=server.port, alter_id=alter_id, security=security),
            dialect=DOCUMENT,
        ) as client,
    ):
        await check_all(client.port)


async def test_the_dialects_do_not_understand_each_other() -> None:
    """Without this, the document dialect could be the other one under its name."""
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(alter_id=4), dialect=DOCUMENT) as server,
        start_client_node(
            ClientSpec(server_port=server.port, alter_id=4, security="aes-128-gcm")
        ) as client,
    ):
        with (
            pytest.raises((trio.TooSlowError, trio.BrokenResourceError)),
            trio.fail_after(0.5),
        ):
            await check_echo(client.port, echo)
        assert echo.byte_count == 0


# Half-close ---------------------------------------------------------------------------------------


async def _ask(port: int, request: bytes) -> bytes:
    """Do what `printf REQUEST | nc -N 127.0.0.1 PORT` does."""
    answer = bytearray()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        await stream.send_eof()
        async for data in stream:
            answer += data
    return bytes(answer)


def _tunnel_to(origin: Origin) -> DokodemoInboundSettings:
    return DokodemoInboundSettings(
        target_address=parse_host(origin.host),
        target_port=origin.port,
        networks=(Network.TCP,),
    )


@pytest.mark.parametrize("security", SECURITY_WORDS)
@pytest.mark.parametrize("size", [0, 1, 4 << 20], ids=["nothing", "a byte", "megabytes"])
async def test_a_response_after_the_end_of_the_request_arrives_whole(
    security: str, size: int
) -> None:
    async with (
        start_delayed_reply(0.02) as origin,
        start_server_node() as server,
        start_client_node(
            ClientSpec(server_port=server.port, security=security), proxy=_tunnel_to(origin)
        ) as client,
    ):
        request = pattern(size)
        assert await _ask(client.port, request) == request


async def test_a_response_may_begin_long_after_the_end_of_the_request() -> None:
    async with (
        start_delayed_reply(0.5) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port), proxy=_tunnel_to(origin)) as client,
    ):
        request = pattern(1 << 20)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(_ask_and_compare, client.port, request)


async def _ask_and_compare(port: int, request: bytes) -> None:
    assert await _ask(port, request) == request


async def test_the_request_may_continue_after_the_end_of_the_response() -> None:
    """The opposite case: a server that ends its response and keeps reading."""
    size = 1 << 20
    async with (
        start_source(100, half_close=True) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port), proxy=_tunnel_to(origin)) as client,
        await trio.open_tcp_stream("127.0.0.1", client.port) as stream,
    ):
        received = b""
        while data := await stream.receive_some():
            received += data
        assert received == pattern(100)
        await stream.send_all(pattern(size))
        await stream.send_eof()
        await wait_until(lambda: origin.byte_count == size)


async def test_a_server_that_speaks_first_is_not_waited_for() -> None:
    """A tunnel's client may send nothing, so its connection must be accepted at once."""
    async with (
        start_source(100) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port), proxy=_tunnel_to(origin)) as client,
        await trio.open_tcp_stream("127.0.0.1", client.port) as stream,
    ):
        assert await stream.receive_some() == pattern(100)


# Chains -------------------------------------------------------------------------------------------


async def test_a_chain_of_three() -> None:
    async with (
        start_server_node(ServerSpec(user_id=THIRD_USER)) as last,
        start_chain_node(
            ServerSpec(user_id=OTHER_USER, alter_id=2),
            ClientSpec(server_port=last.port, user_id=THIRD_USER, security="chacha20-poly1305"),
        ) as second,
        start_chain_node(
            ServerSpec(),
            ClientSpec(
                server_port=second.port,
                user_id=OTHER_USER,
                alter_id=2,
                security="aes-128-cfb",
            ),
        ) as first,
        start_client_node(ClientSpec(server_port=first.port)) as client,
    ):
        await check_all(client.port)
