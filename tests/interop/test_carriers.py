"""Every carrier between this project and the other implementations.

One test is one cell: a pair of one peer and one of our nodes, through which everything goes. The
run ends with the whole matrix as a table.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.interop.carrier_matrix import (
    CarrierCell,
    carrier_cells,
    format_carriers,
)
from tests.kit.exchanges import check_download, check_echo, check_udp_echo, check_upload
from tests.kit.names import LOCALHOST, target_hosts
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo, start_sink, start_source, start_udp_echo
from tests.kit.peers import PEERS, ClientSpec, ServerSpec, require

pytestmark = pytest.mark.limit(20)

SIZE: Final = 3 << 20
DATAGRAM_SIZES: Final = (1, 100, 1400)


@pytest.mark.parametrize("carrier_cell", carrier_cells(), ids=str)
async def test_cell(carrier_cell: CarrierCell, tmp_path: Path) -> None:
    require(PEERS[carrier_cell.peer])
    carrier = carrier_cell.carrier
    if carrier.unix:
        carrier = attrs.evolve(carrier, unix=str(tmp_path / carrier.unix))
    async with (
        start_echo(LOCALHOST) as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_udp_echo() as udp_echo,
        _start_pair(attrs.evolve(carrier_cell, carrier=carrier)) as proxy_port,
    ):
        for host in target_hosts():
            await check_echo(proxy_port, echo, host)
        await check_download(proxy_port, source, SIZE)
        await check_upload(proxy_port, sink, SIZE)
        await check_udp_echo(proxy_port, udp_echo, DATAGRAM_SIZES)
        assert echo.connection_count == len(target_hosts())
        assert udp_echo.connection_count == len(DATAGRAM_SIZES)


@asynccontextmanager
async def _start_pair(cell: CarrierCell) -> AsyncIterator[int]:
    """Start a peer and a node of ours; give the client's SOCKS port."""
    peer, carrier = PEERS[cell.peer], cell.carrier
    if cell.role == "client":
        async with start_server_node(ServerSpec(carrier=carrier)) as node:
            port = 1 if carrier.unix else node.port
            async with peer.start_client(ClientSpec(server_port=port, carrier=carrier)) as client:
                yield client.port
        return
    async with (
        peer.start_server(ServerSpec(carrier=carrier)) as server,
        start_client_node(ClientSpec(server_port=server.port, carrier=carrier)) as client,
    ):
        yield client.port


def test_the_table_shows_what_failed() -> None:
    good, bad, *_ = carrier_cells()
    head, *_, counts = format_carriers({good: "ok", bad: "FAILED"})
    assert "v2ray -> us" in head
    assert counts == "1 ok  1 FAILED  0 skipped"
