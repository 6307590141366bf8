"""Packetaddr as a client: who shares a connection, what goes by it, and how it ends."""

import ipaddress
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.kit.remote_ends import memory_pair
from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Destination, Flow, Network, decode_packetaddr, encode_packetaddr
from trio_vmess.errors import DialError, DialFailure, RemoteProtocolError
from trio_vmess.outbound import PacketAddrOutbound
from trio_vmess.transport.packet_sender import QUEUE_COUNT_MAX

SIZE_MAX = 100


def at(host: str, port: int = 53) -> Destination:
    return Destination(host=ipaddress.ip_address(host), port=port, network=Network.UDP)


DNS = at("192.0.2.1")
NTP = at("192.0.2.2", 123)
IPV6 = at("2001:db8::1")
NAMED = Destination(host="dns.example", port=53, network=Network.UDP)


class Tunnel:
    """A connection, with the server's end of it: a `BoundedPacketLink`.

    Attributes:
        may_send: datagrams to the server wait until it is set.
        is_broken: sending fails.
        is_closed: the client has closed it.
    """

    size_max = SIZE_MAX

    def __init__(self) -> None:
        self.may_send = trio.Event()
        self.may_send.set()
        self.is_broken = self.is_closed = False
        self._from_client, self._sent = trio.open_memory_channel[bytes](math.inf)
        self._to_client, self._received = trio.open_memory_channel[bytes | Exception](math.inf)

    async def receive(self) -> Sequence[bytes]:
        try:
            found = await self._received.receive()
        except trio.EndOfChannel:
            return ()
        if isinstance(found, Exception):
            raise found
        return [found]

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        await self.may_send.wait()
        await trio.lowlevel.checkpoint()
        if self.is_broken:
            raise trio.BrokenResourceError("reset")
        for datagram in datagrams:
            self._from_client.send_nowait(datagram)
        return 0

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()

    async def next(self) -> tuple[Destination, bytes]:
        """Return what comes to the server next, and where it is to go."""
        return decode_packetaddr(await self._sent.receive())

    def answer(self, source: Destination, payload: bytes) -> None:
        """Let the server pass on a datagram."""
        assert not isinstance(source.host, str)
        self.answer_raw(encode_packetaddr(source.host, source.port, payload))

    def answer_raw(self, found: bytes | Exception) -> None:
        """Let the server send this, or receiving fail."""
        self._to_client.send_nowait(found)

    def end(self) -> None:
        """Let the server close the connection."""
        self._to_client.close()


class Server:
    """What opens connections: a `PacketAddrSource`.

    Attributes:
        tunnels: the connections for packetaddr.
        dial_count: how many were asked for.
        failure: what the next dials raise; None for success.
        may_answer: dials wait until it is set.
        plain: destinations of the flows that share nothing.
    """

    tag = "proxy"

    def __init__(self) -> None:
        self.tunnels: list[Tunnel] = []
        self.dial_count = 0
        self.failure: DialError | None = None
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.plain: list[Destination] = []

    async def connect_packetaddr(self) -> Tunnel:
        self.dial_count += 1
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        self.tunnels.append(Tunnel())
        return self.tunnels[-1]

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        self.plain.append(flow.destination)
        return Connected(self.tag, StreamSide(transport=memory_pair()[0]))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        self.plain.append(flow.destination)
        return Connected(self.tag, Tunnel())


@attrs.define(eq=False)
class Program:
    """A socket of a program: an `Association` whose invitations are written down."""

    outbound: PacketAddrOutbound
    invited: list[Destination] = attrs.field(factory=list[Destination])

    def invite(self, peer: Destination, /) -> bool:
        self.invited.append(peer)
        return True

    async def link(self, destination: Destination) -> PacketLink:
        flow = Flow(destination=destination, association=self)
        return (await self.outbound.connect_packets(flow)).remote


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Program]:
    """Run an outbound for the length of the block."""
    outbound = PacketAddrOutbound(server)
    async with trio.open_nursery() as nursery:
        await nursery.start(outbound.run)
        yield Program(outbound)
        nursery.cancel_scope.cancel()
    assert all(tunnel.is_closed for tunnel in server.tunnels)


async def test_an_association_has_one_connection_and_answers_their_sources() -> None:
    server = Server()
    async with running(server) as program:
        dns, ntp = await program.link(DNS), await program.link(NTP)
        assert await dns.send([b"q", b""]) == 0
        assert await ntp.send([b"t"]) == 0
        (tunnel,) = server.tunnels
        assert [await tunnel.next() for _ in range(3)] == [(DNS, b"q"), (DNS, b""), (NTP, b"t")]
        tunnel.answer(NTP, b"noon")
        tunnel.answer(DNS, b"address")
        assert await ntp.receive() == [b"noon"]
        assert await dns.receive() == [b"address"]
        assert program.outbound.connection_count == server.dial_count == 1
        assert not program.invited


async def test_another_association_has_another_connection() -> None:
    server = Server()
    async with running(server) as program:
        await program.link(DNS)
        await Program(program.outbound).link(DNS)
        assert len(server.tunnels) == 2


async def test_a_stranger_is_invited_and_heard() -> None:
    server = Server()
    async with running(server) as program, trio.open_nursery() as nursery:
        link = await program.link(DNS)
        nursery.start_soon(link.receive)
        server.tunnels[0].answer(NTP, b"hello")
        await wait_all_tasks_blocked()
        assert program.invited == [NTP]
        assert await (await program.link(NTP)).receive() == [b"hello"]
        nursery.cancel_scope.cancel()


async def test_ipv6_has_a_connection_of_its_own() -> None:
    server = Server()
    async with running(server) as program:
        for destination in (DNS, IPV6):
            link = await program.link(destination)
            await link.send([b"q"])
            assert await server.tunnels[-1].next() == (destination, b"q")
        assert len(server.tunnels) == 2


async def test_names_and_lone_flows_and_streams_go_as_without_it() -> None:
    server = Server()
    async with running(server) as program:
        await program.link(NAMED)
        await program.outbound.connect_packets(Flow(destination=DNS))
        await program.outbound.connect(Flow(destination=NTP))
        assert server.plain == [NAMED, DNS, NTP]
        assert server.dial_count == 0


@pytest.mark.parametrize(("destination", "head_size"), [(DNS, 7), (IPV6, 19)], ids=["IPv4", "IPv6"])
async def test_datagrams_that_do_not_fit_with_their_address_are_dropped(
    destination: Destination, head_size: int
) -> None:
    server, fitting = Server(), bytes(SIZE_MAX - head_size)
    async with running(server) as program:
        link = await program.link(destination)
        assert await link.send([fitting + b"x", fitting, bytes(SIZE_MAX)]) == 2
        assert await link.send([b"still there"]) == 0
        (tunnel,) = server.tunnels
        assert await tunnel.next() == (destination, fitting)
        assert await tunnel.next() == (destination, b"still there")


async def test_a_server_that_takes_nothing_delays_nobody() -> None:
    server = Server()
    async with running(server) as program:
        link = await program.link(DNS)
        (tunnel,) = server.tunnels
        tunnel.may_send = trio.Event()
        await link.send([b"first"])
        await wait_all_tasks_blocked()
        assert await link.send([b"x"] * (QUEUE_COUNT_MAX + 5)) == 5
        tunnel.may_send.set()
        assert await tunnel.next() == (DNS, b"first")
        assert [await tunnel.next() for _ in range(QUEUE_COUNT_MAX)] == [
            (DNS, b"x")
        ] * QUEUE_COUNT_MAX


async def test_a_flow_that_ends_while_the_server_takes_nothing_harms_no_other() -> None:
    server = Server()
    async with running(server) as program:
        leaving, staying = await program.link(DNS), await program.link(NTP)
        (tunnel,) = server.tunnels
        tunnel.may_send = trio.Event()
        await leaving.send([b"q"])
        await wait_all_tasks_blocked()
        await leaving.aclose()
        await staying.send([b"t"])
        tunnel.may_send.set()
        assert await tunnel.next() == (DNS, b"q")
        assert await tunnel.next() == (NTP, b"t")


# Dials


async def test_those_that_come_at_once_wait_for_one_dial() -> None:
    server = Server()
    server.may_answer = trio.Event()
    async with running(server) as program:
        async with trio.open_nursery() as nursery:
            for port in range(1, 11):
                nursery.start_soon(program.link, at("192.0.2.1", port))
            await wait_all_tasks_blocked()
            server.may_answer.set()
        assert server.dial_count == len(server.tunnels) == 1


async def test_a_dial_that_fails_fails_all_who_wait_for_it_and_no_other() -> None:
    server = Server()
    server.may_answer = trio.Event()
    server.failure = DialError("nobody there", reason=DialFailure.PARENT_PROXY)

    async def fail() -> None:
        with pytest.raises(DialError, match="nobody there") as caught:
            await program.link(DNS)
        assert caught.value.reason is DialFailure.PARENT_PROXY

    async with running(server) as program:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(fail)
            await wait_all_tasks_blocked()
            server.may_answer.set()
        assert server.dial_count == 1
        server.failure = None
        await program.link(DNS)
        assert program.outbound.connection_count == 1


async def test_when_the_one_who_dials_gives_up_another_dials() -> None:
    server = Server()
    server.may_answer = trio.Event()
    async with running(server) as program, trio.open_nursery() as nursery:
        leaving = trio.CancelScope()

        async def give_up() -> None:
            with leaving:
                await program.link(DNS)

        nursery.start_soon(give_up)
        await wait_all_tasks_blocked()
        nursery.start_soon(program.link, NTP)
        await wait_all_tasks_blocked()
        assert server.dial_count == 1
        leaving.cancel()
        await wait_all_tasks_blocked()
        assert server.dial_count == 2
        server.may_answer.set()
        await wait_all_tasks_blocked()
        assert len(server.tunnels) == program.outbound.connection_count == 1


async def test_an_outbound_that_does_not_run_says_so() -> None:
    server = Server()
    async with running(server) as program:
        pass
    with pytest.raises(RuntimeError, match="do not run"):
        await program.link(DNS)
    assert server.dial_count == 0


# Ends


async def test_the_end_of_the_last_flow_ends_the_connection() -> None:
    server = Server()
    async with running(server) as program:
        links = [await program.link(DNS), await program.link(NTP)]
        await links[0].aclose()
        await wait_all_tasks_blocked()
        assert not server.tunnels[0].is_closed
        await links[1].aclose()
        await wait_all_tasks_blocked()
        assert server.tunnels[0].is_closed
        assert program.outbound.connection_count == 0


async def test_a_flow_that_ends_at_once_leaves_no_connection() -> None:
    server = Server()
    async with running(server) as program:
        # The connection's own task has not begun yet.
        await (await program.link(DNS)).aclose()
        await wait_all_tasks_blocked()
        assert server.tunnels[0].is_closed


ENDS = {
    "closed": lambda tunnel: tunnel.end(),
    "reset": lambda tunnel: tunnel.answer_raw(trio.BrokenResourceError("reset")),
    "cannot send": lambda tunnel: setattr(tunnel, "is_broken", True),
    "not vmess": lambda tunnel: tunnel.answer_raw(RemoteProtocolError("a wrong tag")),
    "no address": lambda tunnel: tunnel.answer_raw(b"\x03nothing"),
    "bug": lambda tunnel: tunnel.answer_raw(ZeroDivisionError("a bug")),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_connection_that_ends_breaks_its_links_and_is_not_used_again(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess.outbound.packetaddr")
    server = Server()
    async with running(server) as program:
        links = [await program.link(DNS), await program.link(NTP)]
        (tunnel,) = server.tunnels
        tunnel.answer(DNS, b"before")
        await wait_all_tasks_blocked()
        ENDS[how](tunnel)
        await links[1].send([b"q"])
        await wait_all_tasks_blocked()
        assert tunnel.is_closed
        assert await links[0].receive() == [b"before"]
        for link in links:
            with pytest.raises(trio.BrokenResourceError):
                await link.receive()
            with pytest.raises(trio.BrokenResourceError):
                await link.send([b"q"])
        again = await program.link(DNS)
        for link in links:
            await link.aclose()
        assert await again.send([b"again"]) == 0
        assert await server.tunnels[1].next() == (DNS, b"again")
        lines = [record.getMessage() for record in caplog.records]
    expected = {
        "closed": "packetaddr.closed tag=proxy reason='the server has closed it'",
        "reset": "packetaddr.closed tag=proxy reason='reset'",
        "cannot send": "packetaddr.closed tag=proxy reason='reset'",
        "not vmess": "packetaddr.violation tag=proxy reason='a wrong tag'",
        "no address": "packetaddr.violation tag=proxy reason='packetaddr: expected address",
        "bug": "packetaddr.bug tag=proxy",
    }
    assert lines[0].startswith(expected[how])
