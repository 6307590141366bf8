"""Traffic through two nodes, and what `trio-vmess stats` reports: every byte, under every name."""

import json
import os
import sys
from pathlib import Path

import attrs
import pytest
import trio

from tests.kit.exchanges import check_udp_echo
from tests.kit.nodes import freedom, proxy_inbound, start_node, vmess_inbounds, vmess_outbound
from tests.kit.origin import start_echo, start_source, start_udp_echo
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.socks_client import open_socks_stream
from tests.kit.waiting import wait_until
from trio_vmess import config
from trio_vmess.operations import control

pytestmark = pytest.mark.skipif(
    not control.has_unix_sockets(), reason="there are no Unix sockets here"
)

SIZE = 1 << 20
USER = "user@test.invalid"
ALL = config.PolicySettings(
    levels={0: config.PolicyLevelSettings(stats_user_uplink=True, stats_user_downlink=True)},
    system=config.SystemPolicySettings(
        stats_inbound_uplink=True,
        stats_inbound_downlink=True,
        stats_outbound_uplink=True,
        stats_outbound_downlink=True,
    ),
)


def server_settings(path: Path) -> config.Config:
    return config.Config(
        inbounds=vmess_inbounds(ServerSpec()),
        outbounds=(freedom(),),
        policy=ALL,
        stats=True,
        control=str(path / "server.sock"),
    )


def client_settings(path: Path, server_port: int) -> config.Config:
    return config.Config(
        inbounds=(proxy_inbound(ClientSpec(server_port=server_port, udp=True)),),
        outbounds=(vmess_outbound(ClientSpec(server_port=server_port)),),
        policy=ALL,
        stats=True,
        control=str(path / "client.sock"),
    )


async def run_stats(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = await trio.run_process(
        [sys.executable, "-m", "trio_vmess", "stats", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        env=os.environ | (environment or {}),
    )
    return done.stdout.decode()


async def counters(path: Path, node: str, *arguments: str) -> dict[str, int]:
    text = await run_stats("--socket", str(path / f"{node}.sock"), "--json", *arguments)
    found: dict[str, int] = json.loads(text)["counters"]
    return found


def both_directions(uplink: int, downlink: int, *owners: str) -> dict[str, int]:
    sizes = {"downlink": downlink, "uplink": uplink}
    return {
        f"{owner}>>>traffic>>>{direction}": size
        for owner in owners
        for direction, size in sizes.items()
    }


@pytest.mark.limit(40)
async def test_every_byte_is_counted_on_both_nodes(tmp_path: Path) -> None:
    async with (
        start_source(SIZE) as source,
        start_echo() as echo,
        start_node(server_settings(tmp_path)) as server,
        start_node(client_settings(tmp_path, server.port)) as client,
    ):
        async with await open_socks_stream(client.port, source.host, source.port) as stream:
            size = 0
            while data := await stream.receive_some(65_536):
                size += len(data)
        assert size == SIZE
        await wait_until(lambda: not server.node.connections and not client.node.connections)
        on_client = ("inbound>>>proxy", "outbound>>>vmess")
        on_server = ("inbound>>>vmess", "outbound>>>freedom", f"user>>>{USER}")
        assert await counters(tmp_path, "client") == both_directions(0, SIZE, *on_client)
        assert await counters(tmp_path, "server", "--reset") == both_directions(0, SIZE, *on_server)
        assert await counters(tmp_path, "server") == both_directions(0, 0, *on_server)

        # An open connection is included, too.
        async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
            await stream.send_all(b"x" * 5000)
            received = 0
            while received < 5000:
                received += len(await stream.receive_some(65_536))
            assert await counters(tmp_path, "client") == both_directions(
                5000, SIZE + 5000, *on_client
            )
            assert await counters(tmp_path, "server") == both_directions(5000, 5000, *on_server)
            text = await run_stats("--socket", str(tmp_path / "server.sock"))
            assert f"user      {USER}" in text
            assert "4.9 KiB   4.9 KiB" in text
            text = await run_stats("--socket", str(tmp_path / "client.sock"), "--connections")
            assert f"127.0.0.1:{echo.port}" in text


@pytest.mark.limit(40)
async def test_datagrams_are_counted(tmp_path: Path) -> None:
    sizes = (1, 100, 1200)
    async with (
        start_udp_echo() as echo,
        start_node(server_settings(tmp_path)) as server,
        start_node(client_settings(tmp_path, server.port)) as client,
    ):
        await check_udp_echo(client.port, echo, sizes)
        # As many as were asked for: a lost datagram is sent again.
        total = echo.byte_count
        found = await counters(tmp_path, "server")
    assert found[f"user>>>{USER}>>>traffic>>>uplink"] == total
    assert found["outbound>>>freedom>>>traffic>>>uplink"] == total >= sum(sizes)


@pytest.mark.limit(40)
async def test_the_only_node_is_found_without_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings = attrs.evolve(server_settings(tmp_path), control="")
    async with start_node(settings) as server:
        assert server.node.control_path == str(tmp_path / "trio-vmess" / f"{os.getpid()}.sock")
        assert json.loads(await run_stats("--json"))["counters"] == {}
    assert not list((tmp_path / "trio-vmess").iterdir())


async def test_where_no_socket_can_be_the_node_runs_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    settings = attrs.evolve(server_settings(tmp_path), control="")
    async with start_node(settings) as server:
        assert server.node.control_path == ""
    assert "control.unavailable" in caplog.text


async def test_a_path_that_was_asked_for_and_cannot_be_is_an_error(tmp_path: Path) -> None:
    settings = attrs.evolve(server_settings(tmp_path), control=str(tmp_path / "missing" / "x"))
    with pytest.RaisesGroup(
        pytest.RaisesExc(OSError, match="does not exist"), flatten_subgroups=True
    ):
        async with start_node(settings):
            pytest.fail("it runs")


async def test_without_stats_there_is_no_socket(tmp_path: Path) -> None:
    settings = attrs.evolve(server_settings(tmp_path), control="", stats=False)
    async with start_node(settings) as server:
        assert server.node.control_path == ""
        assert server.node.statistics is None
