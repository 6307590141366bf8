"""A whole node whose machine has a name server that does not answer some names."""

import threading
from pathlib import Path

import pytest
import trio

from tests.kit.name_server import NameServer, start_name_server
from tests.kit.nodes import start_node
from tests.kit.origin import start_echo
from tests.kit.socks_client import open_socks_stream
from tests.kit.waiting import wait_until
from trio_vmess import config
from trio_vmess.core import parse_host
from trio_vmess.dns import SystemFiles, SystemResolver
from trio_vmess.dns.turns import TURNS_OF_ONE
from trio_vmess.node import dns as node_dns
from trio_vmess.node import node as node_module
from trio_vmess.node.dns import FlowDialer

HANGING = [f"hanging-{number}.example" for number in range(200)]


def settings(strategy: str) -> config.Config:
    accounts = tuple(
        config.ProxyAccountSettings(user=name, password="secret") for name in ("ann", "bob")
    )
    return config.Config(
        inbounds=(
            config.InboundSettings(
                tag="socks",
                protocol=config.SocksInboundSettings(
                    auth=config.SocksAuth.PASSWORD, accounts=accounts
                ),
                listen=parse_host("127.0.0.1"),  # type: ignore[arg-type]
                port=config.PortRange(0, 0),
            ),
        ),
        outbounds=(
            config.OutboundSettings(
                protocol=config.FreedomOutboundSettings(
                    domain_strategy=config.FreedomDomainStrategy(strategy)
                )
            ),
        ),
    )


def system_resolver(folder: Path, server: NameServer) -> SystemResolver:
    (folder / "resolv").write_text("nameserver 127.0.0.1\nsearch corp.example\n")
    return SystemResolver(
        call=node_dns.resolve,
        dialer=FlowDialer(node_dns._choose_freedom),
        prefer=list,
        files=SystemFiles(
            resolv=folder / "resolv",
            hosts=folder / "hosts",
            services=folder / "services",
            preferences=folder / "preferences",
        ),
        port=server.port,
    )


async def check_echo(port: int, host: str, target: int, user: str) -> None:
    async with await open_socks_stream(port, host, target, user, "secret") as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some(5) == b"hello"


@pytest.mark.parametrize("strategy", ["AsIs", "UseIP"])
async def test_hanging_names_of_one_user_stop_nobody_else(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = {("service.example", "A"): ["127.0.0.1"]}
    async with start_echo() as echo, start_name_server(zone) as server:
        server.silent_names = frozenset(HANGING)
        monkeypatch.setattr(
            node_module, "make_system_resolver", lambda: system_resolver(tmp_path, server)
        )
        async with start_node(settings(strategy)) as node:
            threads = threading.active_count()
            await check_echo(node.port, "service.example", echo.port, "bob")
            async with trio.open_nursery() as nursery:
                for name in HANGING:
                    nursery.start_soon(open_socks_stream, node.port, name, 80, "ann", "secret")
                await wait_until(lambda: len({each[0] for each in server.asked}) > TURNS_OF_ONE)
                with trio.fail_after(2):
                    await check_echo(node.port, "service.example", echo.port, "bob")
                    await check_echo(node.port, "localhost", echo.port, "bob")
                    await check_echo(node.port, "localhost", echo.port, "ann")
                assert len({each[0] for each in server.asked}) == TURNS_OF_ONE + 1
                assert threading.active_count() == threads
                nursery.cancel_scope.cancel()
