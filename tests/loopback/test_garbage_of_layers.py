"""No layer leaves a reference cycle, whatever ends its connections."""

import pytest

from tests.kit.carriers import CarrierSpec
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import open_socks_stream, receive_exactly
from tests.loopback.test_garbage import HTTP, ask, check_garbage, ignore, send
from trio_vmess.config import PolicyLevelSettings, PolicySettings

IMPATIENT = PolicySettings(levels={0: PolicyLevelSettings(handshake=0.05)})
CARRIERS = [
    CarrierSpec(tls=True),
    CarrierSpec(network="tcp-http"),
    CarrierSpec(network="ws", tls=True),
    CarrierSpec(network="ws", early_data=100),
    CarrierSpec(network="httpupgrade"),
    CarrierSpec(network="h2", tls=True),
    CarrierSpec(network="grpc"),
]


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize(
    "data",
    [b"", b"short", bytes(3000), HTTP % 80, b"\x16\x03\x01\x02\x00\x01"],
    ids=["nothing", "short", "noise", "http", "a part of tls"],
)
@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
async def test_strangers(carrier: CarrierSpec, data: bytes, reset: bool) -> None:
    async with start_server_node(ServerSpec(carrier=carrier)) as server:
        await check_garbage(lambda: ignore(send(server.port, data, reset=reset)), server)


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
async def test_servers_of_another_kind(carrier: CarrierSpec) -> None:
    async with (
        start_server_node(policy=IMPATIENT) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):
        await check_garbage(lambda: ask(client, 80), client)


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
async def test_connections_that_end_and_that_are_cut(carrier: CarrierSpec) -> None:
    async with (
        start_echo() as echo,
        start_server_node(ServerSpec(carrier=carrier)) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):

        async def attempt() -> None:
            async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
                await stream.send_all(b"hello")
                assert await receive_exactly(stream, 5) == b"hello"
            async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
                await stream.send_all(b"hello")
                assert await receive_exactly(stream, 5) == b"hello"
                for connection in list(server.node.connections):
                    connection.cancel()
            await ask(client, free_port())

        await check_garbage(attempt, client, server)
