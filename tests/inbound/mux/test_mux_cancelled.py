"""A carrier that is cancelled at any of its steps leaves nothing open."""

from contextlib import suppress

import trio

from tests.inbound.mux.ends import DNS, NTP, Destinations, Served, make_inbound
from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.mux_client import WEB, MuxCaller
from tests.kit.remote_ends import memory_pair
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import StreamSide
from trio_vmess.core import Flow
from trio_vmess.core.mux import XUDP_SESSION


class EchoDestinations(Destinations):
    """Sends back what comes, a few times, and lets go."""

    async def echo(self) -> None:
        """Serve three sub-connections."""
        for _ in range(3):
            served = await self.next()
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                await self._answer(served)
            served.let_go()

    async def _answer(self, served: Served) -> None:
        if served.side is None:
            await served.datagrams.send(await served.datagrams.receive())
        else:
            await served.transport.send_all(await served.receive())
            await served.transport.send_eof()


def build() -> Scenario:
    server_ends: list[TrackedTransport] = []
    dispatches: list[Destinations] = []

    async def run() -> None:
        local, remote = memory_pair()
        server_end, dispatch = TrackedTransport(remote), EchoDestinations()
        dispatches.append(dispatch)
        client = MuxCaller(local)

        async def serve() -> None:
            server_ends.append(server_end)
            side = StreamSide(transport=server_end)
            await make_inbound(dispatch).serve(side, Flow(destination=WEB), may_open=lambda: True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(dispatch.echo)
            client.mux.open(WEB, data=b"hello")
            client.mux.open(DNS, session_id=XUDP_SESSION, data=b"q")
            client.mux.send_datagram(XUDP_SESSION, b"t", NTP)
            await client.flush()
            for _ in range(4):
                await client.receive()
            await client.transport.aclose()

    def check() -> None:
        assert all(server_end.closed for server_end in server_ends)
        assert not any(dispatch.running for dispatch in dispatches)

    return Scenario(run=run, check=check)


def test_a_carrier_that_is_cancelled_at_any_step_leaves_nothing_open() -> None:
    assert sweep_cancellations(build) > 20
