"""Datagrams of a client's carriers: XUDP."""

import ipaddress

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.outbound.mux.servers import CarrierEnd, Servers, running
from trio_vmess.contracts import PacketLink
from trio_vmess.core import Destination, Flow, Network
from trio_vmess.core.mux import GLOBAL_ID_SIZE, XUDP_PACKET_SIZE, XUDP_SESSION, End, Keep, New
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound import MuxOutbound


def at(host: str, port: int = 53) -> Destination:
    return Destination(host=ipaddress.ip_address(host), port=port, network=Network.UDP)


DNS = at("192.0.2.1")
NTP = at("192.0.2.2", 123)
NAMED = Destination(host="dns.example", port=53, network=Network.UDP)


async def opened(server: CarrierEnd) -> New:
    """Return what has opened the next session, but for its global id."""
    frame = await server.receive()
    assert isinstance(frame, New)
    return attrs.evolve(frame, global_id=b"")


class Program:
    """An association whose invitations are written down."""

    def __init__(self) -> None:
        self.invited: list[Destination] = []

    def invite(self, peer: Destination, /) -> bool:
        self.invited.append(peer)
        return True

    async def link(self, outbound: MuxOutbound, destination: Destination) -> PacketLink:
        flow = Flow(destination=destination, association=self)
        return (await outbound.connect_packets(flow)).remote


async def test_an_association_has_one_session_and_answers_their_sources() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        dns, ntp = await program.link(outbound, DNS), await program.link(outbound, NTP)
        await dns.send([b"q", b"r"])
        await ntp.send([b"t"])
        server = await servers.next()
        assert await opened(server) == New(XUDP_SESSION, DNS, b"q", is_extended=True)
        assert await server.receive() == Keep(XUDP_SESSION, b"r", DNS)
        assert await server.receive() == Keep(XUDP_SESSION, b"t", NTP)
        server.mux.send_datagram(XUDP_SESSION, b"time", NTP)
        server.mux.send_datagram(XUDP_SESSION, b"address", DNS)
        await server.flush()
        assert await ntp.receive() == [b"time"]
        assert await dns.receive() == [b"address"]
        assert servers.dial_count == 1


async def test_an_answer_without_a_source_is_the_first_destinations() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        link = await program.link(outbound, DNS)
        await link.send([b"q"])
        server = await servers.next()
        await server.receive()
        server.mux.send_datagram(XUDP_SESSION, b"a")
        await server.flush()
        assert await link.receive() == [b"a"]


async def test_a_stranger_is_invited() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        link = await program.link(outbound, DNS)
        await link.send([b"q"])
        server = await servers.next()
        await server.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.receive)
            server.mux.send_datagram(XUDP_SESSION, b"hello", NTP)
            await server.flush()
            await wait_all_tasks_blocked()
            assert program.invited == [NTP]
            assert await (await program.link(outbound, NTP)).receive() == [b"hello"]
            nursery.cancel_scope.cancel()


async def test_whoever_answers_for_a_name_is_taken_for_it() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        link = await program.link(outbound, NAMED)
        await link.send([b"q"])
        server = await servers.next()
        assert await opened(server) == New(XUDP_SESSION, NAMED, b"q", is_extended=True)
        for _ in range(2):
            server.mux.send_datagram(XUDP_SESSION, b"a", DNS)
            await server.flush()
            assert await link.receive() == [b"a"]
        assert not program.invited


async def test_two_names_at_one_port_are_not_guessed_between() -> None:
    servers, program = Servers(), Program()
    other = attrs.evolve(NAMED, host="other.example")
    async with running(servers, is_xudp=True) as outbound:
        for destination in (NAMED, other):
            link = await program.link(outbound, destination)
            await link.send([b"q"])
        server = await servers.next()
        await server.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.receive)
            server.mux.send_datagram(XUDP_SESSION, b"a", DNS)
            await server.flush()
            await wait_all_tasks_blocked()
            assert program.invited == [DNS]
            nursery.cancel_scope.cancel()


async def test_the_end_of_the_last_flow_ends_session_and_carrier() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        link = await program.link(outbound, DNS)
        await link.send([b"q"])
        server = await servers.next()
        await server.receive()
        await link.aclose()
        # The end of the carrier says it all; it may overtake that of the session.
        assert await server.receive() in (End(XUDP_SESSION), None)
        assert await server.receive() is None
        await wait_all_tasks_blocked()
        assert outbound.carrier_count == 0


async def test_destinations_that_are_written_to_at_once_need_one_carrier() -> None:
    servers, program = Servers(), Program()
    links: list[PacketLink] = []
    async with running(servers, is_xudp=True) as outbound:

        async def open_link(port: int) -> None:
            links.append(await program.link(outbound, at("192.0.2.1", port)))

        async with trio.open_nursery() as nursery:
            for port in range(1, 11):
                nursery.start_soon(open_link, port)
        assert servers.dial_count == outbound.carrier_count == 1
        assert len(links) == 10


async def test_associations_have_sessions_of_their_own_beside_streams() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        for number in (1, 2):
            link = await Program().link(outbound, DNS)
            await link.send([b"q"])
            if number == 1:
                server = await servers.next()
            assert await opened(server) == New(number, DNS, b"q", is_extended=True)
        assert servers.dial_count == 1


@pytest.mark.parametrize("how", ["by the server", "with the carrier"])
async def test_a_session_that_ends_breaks_its_links_and_is_not_used_again(how: str) -> None:
    servers, program = Servers(), Program()
    async with running(servers) as outbound:
        dns, ntp = await program.link(outbound, DNS), await program.link(outbound, NTP)
        await dns.send([b"q"])
        server = await servers.next()
        await server.receive()
        if how == "by the server":
            await server.end(1)
        else:
            await server.transport.abort()
        for link in (dns, ntp):
            with pytest.raises(trio.BrokenResourceError):
                await link.receive()
            with pytest.raises(trio.BrokenResourceError):
                await link.send([b"q"])
        again = await program.link(outbound, DNS)
        for link in (dns, ntp):
            await link.aclose()
        await again.send([b"again"])


async def test_an_association_keeps_its_global_id_on_another_carrier() -> None:
    servers, program, ids = Servers(), Program(), []
    async with running(servers, is_xudp=True) as outbound:
        for _ in range(3):
            link = await program.link(outbound, DNS)
            await link.send([b"q"])
            server = await servers.next()
            frame = await server.receive()
            assert isinstance(frame, New)
            ids.append(frame.global_id)
            await server.transport.abort()
            with pytest.raises(trio.BrokenResourceError):
                await link.receive()
            await link.aclose()
    assert len(set(ids)) == 1
    assert len(ids[0]) == GLOBAL_ID_SIZE


async def test_datagrams_that_are_too_large_are_dropped() -> None:
    servers, program = Servers(), Program()
    async with running(servers, is_xudp=True) as outbound:
        link = await program.link(outbound, DNS)
        assert (
            await link.send([bytes(XUDP_PACKET_SIZE + 1), b"q", bytes(XUDP_PACKET_SIZE + 1)]) == 2
        )
        server = await servers.next()
        assert await opened(server) == New(XUDP_SESSION, DNS, b"q", is_extended=True)


async def test_quic_is_refused_carried_or_sent_beside() -> None:
    quic = attrs.evolve(DNS, port=443)
    servers = Servers()
    async with running(servers, quic=False) as outbound:
        with pytest.raises(DialError, match="QUIC") as refused:
            await Program().link(outbound, quic)
        assert refused.value.reason is DialFailure.FORBIDDEN
    async with running(servers, quic=True) as outbound:
        with pytest.raises(DialError, match="no datagrams here"):
            await Program().link(outbound, quic)
    assert servers.dial_count == 0
    async with running(servers) as outbound:
        await Program().link(outbound, quic)
    assert servers.dial_count == 1


async def test_a_flow_without_an_association_has_a_session_of_its_own() -> None:
    servers = Servers()
    async with running(servers) as outbound:
        for _ in range(2):
            link = (await outbound.connect_packets(Flow(destination=DNS))).remote
            await link.send([b"q"])
        server = await servers.next()
        assert await opened(server) == New(1, DNS, b"q", is_extended=True)
        assert await opened(server) == New(2, DNS, b"q", is_extended=True)
