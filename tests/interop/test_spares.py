"""Spare connections to the servers of other implementations, which wait for a request patiently."""

from typing import Final

import pytest
import trio

from tests.kit.carriers import BARE, EARLY_DATA, WS_TLS, CarrierSpec, has_carrier
from tests.kit.delayed_path import start_delayed_path
from tests.kit.nodes import start_client_node
from tests.kit.origin import start_echo
from tests.kit.peers import SING_BOX, V2RAY, XRAY, ClientSpec, Peer, ServerSpec, require
from tests.kit.spares import find_trips, wait_for_spares

pytestmark = pytest.mark.limit(40)

SILENCE: Final = 2.0
"""Seconds; the shortest limit of any of these servers is 4."""

PEERS: Final = {"v2ray": V2RAY, "sing-box": SING_BOX, "xray": XRAY}
EARLY: Final = CarrierSpec(network="ws", tls=True, early_data=EARLY_DATA)
PAIRS: Final = [
    pytest.param(peer, carrier, id=f"{name}-{carrier}")
    for name, peer in PEERS.items()
    for carrier in (BARE, WS_TLS, EARLY)
    if has_carrier(name, "server", carrier)
]


@pytest.mark.parametrize(("peer", "carrier"), PAIRS)
async def test_a_spare_is_good_after_some_silence(peer: Peer, carrier: CarrierSpec) -> None:
    require(peer)
    async with (
        start_echo() as echo,
        peer.start_server(ServerSpec(carrier=carrier)) as server,
        start_delayed_path(server.port) as path,
        start_client_node(ClientSpec(server_port=path.port, carrier=carrier), spares=1) as client,
    ):
        assert await find_trips(client.port, path, echo) > 1
        await wait_for_spares(client, 1, [path])
        spare = path.connections[1]
        await trio.sleep(SILENCE)
        assert await find_trips(client.port, path, echo) == 1
        assert spare.events[:2] == ["up", "down"]
