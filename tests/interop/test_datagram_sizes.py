"""Datagrams that a V2Ray server cannot take in one piece, after which it drops all others."""

import attrs
import pytest
import trio

from tests.kit.nodes import proxy_inbound, start_node, vmess_outbound
from tests.kit.origin import start_udp_echo
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.peers import V2RAY, require
from tests.kit.socks_client import SocksUdpAssociation, open_socks_udp
from trio_vmess import config

PAUSE = 0.5


async def is_answered(association: SocksUdpAssociation, port: int, size: int) -> bool:
    await association.send_to("127.0.0.1", port, bytes(size))
    with trio.move_on_after(PAUSE):
        while len((await association.receive())[2]) != size:
            pass
        return True
    return False


@pytest.mark.limit(40)
@pytest.mark.parametrize("packet_size", [1950, 16_000])
async def test_a_large_datagram_does_not_end_the_conversation(packet_size: int) -> None:
    require(V2RAY)
    async with start_udp_echo() as echo, V2RAY.start_server(ServerSpec()) as server:
        spec = ClientSpec(server_port=server.port)
        outbound = vmess_outbound(spec)
        assert isinstance(outbound.protocol, config.VMessOutboundSettings)
        protocol = attrs.evolve(outbound.protocol, packet_size=packet_size)
        settings = config.Config(
            inbounds=(proxy_inbound(spec),), outbounds=(attrs.evolve(outbound, protocol=protocol),)
        )
        async with start_node(settings) as node, open_socks_udp(node.port) as association:
            for size in (100, 1400, 1950):
                assert await is_answered(association, echo.port, size)
            assert not await is_answered(association, echo.port, 3000)
            if packet_size == 1950:
                assert await is_answered(association, echo.port, 100)
                return
            # The stream is dead now, as nothing but the silence tells.
            assert not await is_answered(association, echo.port, 100)
            while not await is_answered(association, echo.port, 100):
                pass
