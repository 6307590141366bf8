"""Every cipher, header and option between this project and the other implementations.

One test is one cell: a pair of one peer and one of our nodes, through which everything goes that
the cell can carry. The run ends with the whole matrix as a table.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.interop.matrix import (
    OPTIONS,
    SECURITIES,
    MatrixCell,
    format_matrix,
    matrix_cells,
)
from tests.kit.exchanges import check_download, check_echo, check_udp_echo, check_upload
from tests.kit.names import LOCALHOST, target_hosts
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo, start_sink, start_source, start_udp_echo
from tests.kit.peers import (
    PEERS,
    SING_BOX,
    Cell,
    ClientSpec,
    ServerSpec,
    packet_encoding_of,
    require,
)

pytestmark = pytest.mark.limit(20)

SIZE = 3 << 20
DATAGRAM_SIZES = (1, 100, 1200, 1400)


@pytest.mark.parametrize("matrix_cell", matrix_cells(), ids=str)
async def test_cell(matrix_cell: MatrixCell) -> None:
    cell = matrix_cell.peer_cell
    require(PEERS[cell.peer])
    async with (
        start_echo(LOCALHOST) as echo,
        start_source(SIZE) as source,
        start_sink(size=SIZE) as sink,
        start_udp_echo() as udp_echo,
        _start_pair(cell) as proxy_port,
    ):
        for host in target_hosts():
            await check_echo(proxy_port, echo, host)
        await check_download(proxy_port, source, SIZE)
        await check_upload(proxy_port, sink, SIZE)
        await check_udp_echo(proxy_port, udp_echo, DATAGRAM_SIZES)
        assert echo.connection_count == len(target_hosts())
        assert udp_echo.connection_count == len(DATAGRAM_SIZES)


@asynccontextmanager
async def _start_pair(cell: Cell) -> AsyncIterator[int]:
    """Start a peer and a node of ours; give the client's SOCKS port."""
    peer = PEERS[cell.peer]
    if cell.role == "client":
        async with (
            start_server_node(ServerSpec(alter_id=cell.alter_id)) as node,
            peer.start_client(cell.client_spec(node.port)) as client,
        ):
            yield client.port
        return
    async with peer.start_server(cell.server_spec()) as server:
        spec = ClientSpec(
            server_port=server.port,
            alter_id=cell.alter_id,
            security=cell.security,
            global_padding="global_padding" in cell.options,
            authenticated_length="authenticated_length" in cell.options,
            mux="mux" in cell.options,
            packet_encoding=packet_encoding_of(cell.options),
        )
        # sing-box forgets past seconds early; see its row in CAPABILITIES.
        jitter = 0 if peer is SING_BOX else 30
        async with start_client_node(spec, timestamp_jitter=jitter) as client:
            yield client.port


def test_the_matrix_is_whole() -> None:
    """Nothing that a peer and this project can do with each other is left out."""
    seen = {
        (cell.peer_cell.peer, cell.peer_cell.role, cell.peer_cell.security)
        for cell in matrix_cells()
    }
    for peer in PEERS:
        for security in SECURITIES[:3]:
            assert {(peer, "client", security), (peer, "server", security)} <= seen
    for security in SECURITIES[3:]:
        assert ("sing-box", "client", security) in seen
        assert {("sing-box", "server", security), ("v2ray", "server", security)} <= seen
    options = {cell.peer_cell.options for cell in matrix_cells()}
    assert frozenset() in options
    assert frozenset({"global_padding", "authenticated_length"}) in options
    for role in ("client", "server"):
        of_role = [cell.peer_cell.options for cell in matrix_cells() if cell.peer_cell.role == role]
        assert frozenset().union(*of_role) == OPTIONS
    alter_ids = {cell.peer_cell.alter_id for cell in matrix_cells()}
    assert alter_ids == {0, 1, 4, 64}


def test_the_table_shows_what_failed() -> None:
    good, bad, *_ = matrix_cells()
    *rows, counts = format_matrix({good: "ok", bad: "FAILED"})
    assert sum("FAILED" in row for row in rows) == 1
    assert counts == "1 ok  1 FAILED  0 skipped"
