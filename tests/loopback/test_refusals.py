"""What nodes refuse: private addresses to remote users, and everything to strangers."""

import contextlib
import math

import pytest
import trio
import trio.testing

from tests.kit.exchanges import check_echo
from tests.kit.names import LOCALHOST, target_hosts
from tests.kit.nodes import (
    freedom,
    proxy_inbound,
    start_client_node,
    start_node,
    start_server_node,
)
from tests.kit.origin import start_echo, start_udp_echo
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import SocksError, open_socks_stream, open_socks_udp
from tests.kit.waiting import wait_until
from trio_vmess.config import Config, PolicyLevelSettings, PolicySettings

OTHER_USER = "00000000-1111-2222-3333-444444444444"
HANDSHAKE = 0.3
IMPATIENT = PolicySettings(levels={0: PolicyLevelSettings(handshake=HANDSHAKE)})

# Source: RFC 1928 section 6.
GENERAL_FAILURE = 1
HOST_UNREACHABLE = 4
CONNECTION_REFUSED = 5


# Private addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [*target_hosts(), "::ffff:127.0.0.1", "127.1.2.3", "0.0.0.0"])
async def test_this_machine_is_closed_to_remote_users(host: str) -> None:
    async with (
        start_echo(LOCALHOST) as echo,
        start_udp_echo(LOCALHOST) as udp_echo,
        start_server_node(allow_private=False) as server,
        start_client_node(ClientSpec(server_port=server.port)) as client,
    ):
        # VMess has no refusal message: all that the client sees is a connection that is cut.
        async with await open_socks_stream(client.port, host, echo.port) as stream:
            await stream.send_all(b"let me in")
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
        async with open_socks_udp(client.port) as association:
            await association.send_to(host, udp_echo.port, b"let me in")
            with trio.move_on_after(0.1) as silence:
                await association.receive()
            assert silence.cancelled_caught
        assert echo.connection_count == udp_echo.connection_count == 0


@pytest.mark.parametrize("host", target_hosts())
async def test_this_machine_is_open_to_its_own_users(host: str) -> None:
    """Who comes in by SOCKS is on this machine already."""
    settings = Config(
        inbounds=(proxy_inbound(ClientSpec(server_port=0)),),
        outbounds=(freedom(allow_private=False),),
    )
    async with start_echo(LOCALHOST) as echo, start_node(settings) as node:
        await check_echo(node.port, echo, host)


# Replies to local users ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "code"),
    [("127.0.0.1", CONNECTION_REFUSED), ("no-such-name.invalid", HOST_UNREACHABLE)],
)
async def test_the_socks_reply_has_the_reason(host: str, code: int) -> None:
    settings = Config(inbounds=(proxy_inbound(ClientSpec(server_port=0)),), outbounds=(freedom(),))
    async with start_node(settings) as node:
        with pytest.raises(SocksError) as caught:
            await open_socks_stream(node.port, host, free_port())
        assert caught.value.code == code


async def test_the_socks_reply_when_the_server_is_down() -> None:
    async with start_client_node(ClientSpec(server_port=free_port())) as client:
        with pytest.raises(SocksError) as caught:
            await open_socks_stream(client.port, "127.0.0.1", 80)
        assert caught.value.code == GENERAL_FAILURE


# Strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00",
        bytes(16),
        bytes(range(256)),
        bytes(100_000),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x05\x01\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506),
    ],
    ids=["nothing", "a byte", "16 bytes", "256 bytes", "much", "HTTP", "SOCKS", "TLS"],
)
@pytest.mark.parametrize("alter_id", [0, 4])
async def test_an_unknown_user_gets_no_response(sent: bytes, alter_id: int) -> None:
    """No byte is sent, and the connection stays open equally long whatever was sent.

    The time begins when the connection is accepted, whether it brings a byte or not.
    """
    async with start_server_node(ServerSpec(alter_id=alter_id), policy=IMPATIENT) as server:
        # Before the dial: node and stranger share a thread, and whoever accepts may have been
        # first by as long as a full collection takes.
        begin = trio.current_time()
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(sent)
            assert await stream.receive_some() == b""
            assert HANDSHAKE <= trio.current_time() - begin < HANDSHAKE + 3


@pytest.mark.parametrize("alter_id", [0, 4])
async def test_a_wrong_user_reaches_nothing(
    alter_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(alter_id=alter_id), policy=IMPATIENT) as server,
        start_client_node(
            ClientSpec(server_port=server.port, user_id=OTHER_USER, alter_id=alter_id)
        ) as client,
    ):
        async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
            await stream.send_all(b"let me in")
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
        assert echo.connection_count == 0
        await wait_until(lambda: "vmess.refused" in caplog.text)


@pytest.mark.parametrize("security", ["none", "zero", "aes-128-cfb"])
async def test_insecure_ciphers_can_be_forbidden(security: str) -> None:
    async with (
        start_echo() as echo,
        start_server_node(policy=IMPATIENT, disable_insecure_encryption=True) as server,
    ):
        async with start_client_node(
            ClientSpec(server_port=server.port, security=security)
        ) as client:
            async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
                await stream.send_all(b"let me in")
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some(1)
            assert echo.connection_count == 0
        async with start_client_node(ClientSpec(server_port=server.port)) as client:
            await check_echo(client.port, echo)


async def test_strangers_cost_no_tasks_and_do_not_delay_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    count = 20

    def tasks() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    async with start_server_node() as server, contextlib.AsyncExitStack() as stack:
        await trio.testing.wait_all_tasks_blocked()
        before = tasks()
        strangers = [
            await stack.enter_async_context(await trio.open_tcp_stream(LOCALHOST, server.port))
            for _ in range(count)
        ]
        for each in strangers:
            await each.send_all(bytes(100))
        await wait_until(lambda: caplog.text.count("vmess.refused source=") == count)
        # The first of them may have started the search for a wrong clock.
        await wait_until(lambda: tasks() == before)
        server.node.stop(grace=math.inf)
        for each in strangers:
            assert await each.receive_some(1) == b""
