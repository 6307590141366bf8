"""UDP sockets of associations: one address for all peers, and peers that were not asked."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.kit.names import IPV4_LOOPBACK
from trio_vmess.contracts import PacketLink
from trio_vmess.core import Destination, Flow, Network, parse_host
from trio_vmess.errors import DialError
from trio_vmess.outbound.freedom import FreedomOutbound
from trio_vmess.outbound.shared_sockets import QUEUE_COUNT_MAX, UNINVITED_COUNT_MAX


@attrs.define(eq=False)
class Socket:
    """A program's socket: an `Association`."""

    may_invite: bool = True
    invited: list[Destination] = attrs.field(factory=list[Destination])

    def invite(self, peer: Destination, /) -> bool:
        if self.may_invite:
            self.invited.append(peer)
        return self.may_invite


@asynccontextmanager
async def peer() -> AsyncIterator[trio.socket.SocketType]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind((IPV4_LOOPBACK, 0))
        yield sock


@attrs.define(eq=False)
class Sharing:
    """An association, and the links of its flows."""

    association: Socket = attrs.field(factory=Socket)
    outbound: FreedomOutbound = attrs.field(
        factory=lambda: FreedomOutbound(tag="", allow_private=True)
    )
    _links: list[PacketLink] = attrs.field(factory=list[PacketLink])

    async def link_to(self, sock: trio.socket.SocketType) -> PacketLink:
        host, port = sock.getsockname()
        destination = Destination(host=parse_host(host), port=port, network=Network.UDP)
        flow = Flow(destination=destination, association=self.association)
        link = (await self.outbound.connect_packets(flow)).remote
        self._links.append(link)
        return link

    async def close(self) -> None:
        for link in self._links:
            await link.aclose()


@asynccontextmanager
async def shares(*, may_invite: bool = True) -> AsyncIterator[Sharing]:
    shared = Sharing(Socket(may_invite))
    yield shared
    await shared.close()
    assert len(shared.outbound._shared) == 0


async def test_all_peers_see_one_address_and_each_has_its_link() -> None:
    async with shares() as sharing, peer() as one, peer() as two:
        first = await sharing.link_to(one)
        second = await sharing.link_to(two)
        await first.send([b"a"])
        await second.send([b"b"])
        (asked, address), (asked_too, same) = await one.recvfrom(9), await two.recvfrom(9)
        assert (asked, asked_too) == (b"a", b"b")
        assert address == same
        await two.sendto(b"B", address)
        await one.sendto(b"A", address)
        # Whoever reads first reads for both.
        assert await first.receive() == [b"A"]
        assert await second.receive() == [b"B"]
        await first.aclose()
        await second.aclose()
    assert not sharing.association.invited


async def test_two_receivers_wait_at_the_same_time() -> None:
    async with shares() as sharing, peer() as one, peer() as two, trio.open_nursery() as nursery:
        links = [await sharing.link_to(sock) for sock in (one, two)]
        received: list[bytes] = []

        async def receive(link: PacketLink) -> None:
            for _ in range(3):
                received.extend(await link.receive())

        for link in links:
            await link.send([b"hello"])
            nursery.start_soon(receive, link)
        _, address = await one.recvfrom(9)
        for count in range(6):
            await wait_all_tasks_blocked()
            await (one, two)[count % 2].sendto(b"%d" % count, address)
            while len(received) <= count:
                await trio.lowlevel.checkpoint()
        assert received == [b"%d" % count for count in range(6)]


async def test_when_the_one_who_reads_leaves_another_goes_on() -> None:
    async with shares() as sharing, peer() as one, peer() as two, trio.open_nursery() as nursery:
        first = await sharing.link_to(one)
        second = await sharing.link_to(two)
        await second.send([b"hello"])
        _, address = await two.recvfrom(9)
        scope = trio.CancelScope()

        @nursery.start_soon
        async def read_and_leave() -> None:
            with scope:
                await first.receive()
            await first.aclose()

        await wait_all_tasks_blocked()

        @nursery.start_soon
        async def leave() -> None:
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            await two.sendto(b"answer", address)

        assert await second.receive() == [b"answer"]


async def test_a_stranger_is_invited_and_its_datagrams_wait() -> None:
    async with shares() as sharing, peer() as known, peer() as stranger:
        link = await sharing.link_to(known)
        await link.send([b"hello"])
        _, address = await known.recvfrom(9)
        for count in range(UNINVITED_COUNT_MAX + 5):
            await stranger.sendto(bytes((count,)), address)
        await known.sendto(b"answer", address)
        assert await link.receive() == [b"answer"]
        (invited,) = sharing.association.invited
        assert invited.port == stranger.getsockname()[1]
        other = await sharing.link_to(stranger)
        assert await other.receive() == [bytes((each,)) for each in range(UNINVITED_COUNT_MAX)]


async def test_a_stranger_who_is_not_invited_is_not_heard() -> None:
    async with shares(may_invite=False) as sharing, peer() as known, peer() as stranger:
        link = await sharing.link_to(known)
        await link.send([b"hello"])
        _, address = await known.recvfrom(9)
        await stranger.sendto(b"spam", address)
        await known.sendto(b"answer", address)
        assert await link.receive() == [b"answer"]
        other = await sharing.link_to(stranger)
        with trio.move_on_after(0.01) as limit:
            await other.receive()
        assert limit.cancelled_caught


async def test_the_socket_is_closed_with_its_last_link() -> None:
    async with shares() as sharing, peer() as one, peer() as two:
        links = [await sharing.link_to(sock) for sock in (one, two)]
        assert len(sharing.outbound._shared) == 1
        await links[0].aclose()
        await links[0].aclose()
        assert await links[1].send([b"still open"]) == 0
        await links[1].aclose()
        assert len(sharing.outbound._shared) == 0
        with pytest.raises(trio.ClosedResourceError):
            await links[1].receive()


async def test_a_slow_receiver_loses_datagrams_of_its_own_alone() -> None:
    async with shares() as sharing, peer() as busy, peer() as quiet:
        slow = await sharing.link_to(busy)
        other = await sharing.link_to(quiet)
        await other.send([b"hello"])
        _, address = await quiet.recvfrom(9)
        async with trio.open_nursery() as nursery:
            received: list[bytes] = []

            @nursery.start_soon
            async def read() -> None:
                received.extend(await other.receive())

            for _ in range(QUEUE_COUNT_MAX + 44):
                await busy.sendto(b"x", address)
                await trio.lowlevel.checkpoint()
            await quiet.sendto(b"answer", address)
        assert received == [b"answer"]
        assert len(await slow.receive()) <= QUEUE_COUNT_MAX


async def test_every_address_of_an_association_is_checked() -> None:
    outbound = FreedomOutbound(tag="")
    host = parse_host("10.0.0.1")
    destination = Destination(host=host, port=53, network=Network.UDP)
    flow = Flow(destination=destination, is_remote=True, association=Socket())
    with pytest.raises(DialError, match="private"):
        await outbound.connect_packets(flow)
    assert len(outbound._shared) == 0
