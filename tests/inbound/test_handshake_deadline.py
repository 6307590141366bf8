"""One deadline for the handshake of a connection, however many layers it goes through."""

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.kit.inbound_client import HANDSHAKE, open_client
from tests.kit.scripted_remote import open_remote
from trio_vmess.contracts import Inbound, Transport
from trio_vmess.core import Policy
from trio_vmess.inbound.http import HttpInbound
from trio_vmess.inbound.mixed import MixedInbound
from trio_vmess.inbound.socks import SocksInbound


@attrs.frozen
class PrefaceLayer:
    """A layer that takes four bytes in front of another protocol: an `Inbound`."""

    inner: Inbound

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """Read the preface, and pass the rest on."""
        preface = b""
        with trio.move_on_at(deadline):
            while len(preface) < 4:
                buffer = memoryview(bytearray(4 - len(preface)))
                preface += buffer[: await transport.receive_into(buffer)]
        if len(preface) < 4:
            await transport.aclose()
            return
        await self.inner.serve(transport, source=source, deadline=deadline)


@pytest.mark.parametrize("steps", [[], [b"PR"], [b"PREF", b"\x05"], [b"PREF", b"\x05", b"\1\0"]])
async def test_three_layers_share_the_deadline(
    steps: list[bytes], autojump_clock: MockClock
) -> None:
    """Each layer gets only what the ones before have left."""
    async with open_remote() as remote:
        socks = SocksInbound(
            remote.dispatch, tag="", level=0, accounts=None, udp=False, udp_address=None
        )
        http = HttpInbound(remote.dispatch, tag="", policy=Policy(), level=0, accounts=None)
        async with open_client(PrefaceLayer(MixedInbound(socks, http))) as client:
            for step in steps:
                await client.send(step)
                await trio.sleep(HANDSHAKE / 4)
            await client.receive_rest()
            assert trio.current_time() == pytest.approx(HANDSHAKE)
        assert remote.outbound.flows == []
