"""UDP sub-connections: one destination as with V2Ray, many as with XUDP and packetaddr."""

import ipaddress
from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.inbound.mux.ends import (
    ANN,
    BOB,
    DNS,
    NTP,
    Destinations,
    MuxCaller,
    Served,
    carried,
    make_inbound,
)
from trio_vmess.contracts import PacketLink
from trio_vmess.core import (
    PACKETADDR_HOST,
    Destination,
    Flow,
    Network,
    User,
    encode_packetaddr,
)
from trio_vmess.core.mux import PACKET_SIZE, XUDP_PACKET_SIZE, XUDP_SESSION, End, Keep
from trio_vmess.inbound.mux.association import (
    IDLE_LIMIT,
    INVITED_COUNT_MAX,
    KEEP_TIME,
    ClientAssociation,
)
from trio_vmess.inbound.mux.global_ids import COUNT_MAX_OF_USER, GlobalIds

GLOBAL_ID = b"12345678"
STRANGER = Destination(host=ipaddress.ip_address("192.0.2.7"), port=7, network=Network.UDP)


async def open_xudp(
    client: MuxCaller, *, session_id: int | None = XUDP_SESSION, global_id: bytes = GLOBAL_ID
) -> int:
    number = client.mux.open(DNS, session_id=session_id, data=b"q", global_id=global_id)
    await client.flush()
    return number


async def received(served: Served) -> list[bytes]:
    return [*await served.datagrams.receive()]


async def test_v2rays_sessions_have_one_destination() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(DNS, data=b"one")
        served = await dispatch.next()
        await client.send_datagram(number, b"two")
        await wait_all_tasks_blocked()
        assert await received(served) == [b"one", b"two"]
        assert served.flow.destination == DNS
        assert served.flow.association is None
        assert await served.datagrams.send([b"answer"]) == 0
        assert await client.receive() == Keep(number, b"answer")
        served.let_go()


async def test_xudp_has_a_flow_for_each_destination(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await open_xudp(client)
        first = await dispatch.next()
        await client.send_datagram(number, b"time?", NTP)
        second = await dispatch.next()
        await client.send_datagram(number, b"again", DNS)
        await wait_all_tasks_blocked()
        assert await received(first) == [b"q", b"again"]
        assert await received(second) == [b"time?"]
        assert (first.flow.destination, second.flow.destination) == (DNS, NTP)
        assert first.flow.association is second.flow.association is not None
        assert first.flow.carrier == second.flow.carrier
        await second.datagrams.send([b"noon"])
        assert await client.receive() == Keep(number, b"noon", NTP)
        first.let_go()
        second.let_go()


async def test_peers_that_were_never_written_to_get_a_flow(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await open_xudp(client)
        served = await dispatch.next()
        assert served.flow.association is not None
        assert served.flow.association.invite(STRANGER)
        assert served.flow.association.invite(STRANGER)
        invited = await dispatch.next()
        assert invited.flow.destination == STRANGER
        await invited.datagrams.send([b"hello"])
        assert await client.receive() == Keep(number, b"hello", STRANGER)
        served.let_go()
        invited.let_go()


async def test_strangers_cannot_open_any_number_of_flows(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        await open_xudp(client)
        served = await dispatch.next()
        association = served.flow.association
        assert association is not None
        peers = [attrs.evolve(STRANGER, port=port) for port in range(1, 100)]
        assert sum(map(association.invite, peers)) == INVITED_COUNT_MAX
        await wait_all_tasks_blocked()
        assert dispatch.running == 1 + INVITED_COUNT_MAX


async def test_datagrams_that_a_client_cannot_take_are_dropped(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        plain = await client.open(DNS, data=b"q")
        served = await dispatch.next()
        extended = await open_xudp(client)
        other = await dispatch.next()
        assert await served.datagrams.send([bytes(PACKET_SIZE + 1), bytes(PACKET_SIZE)]) == 1
        assert await client.receive() == Keep(plain, bytes(PACKET_SIZE))
        sizes = (XUDP_PACKET_SIZE + 1, XUDP_PACKET_SIZE)
        assert await other.datagrams.send([bytes(size) for size in sizes]) == 1
        assert await client.receive() == Keep(extended, bytes(XUDP_PACKET_SIZE), DNS)
        served.let_go()
        other.let_go()


async def test_the_clients_end_ends_the_flows() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(DNS, data=b"q")
        await dispatch.next()
        await client.end(number)
        await wait_all_tasks_blocked()
        assert not dispatch.running
        assert not client.returned.is_set()


async def test_an_association_without_flows_ends(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(DNS, data=b"q")
        (await dispatch.next()).let_go()
        assert await client.receive() == End(number)
        assert trio.current_time() == pytest.approx(IDLE_LIMIT)


# Global ids


async def test_a_global_id_keeps_its_association_when_its_carrier_ends(
    autojump_clock: MockClock,
) -> None:
    dispatch = Destinations()
    inbound = make_inbound(dispatch)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def first_carrier() -> None:
            async with carried(inbound) as client:
                await open_xudp(client)
                await trio.sleep(1)

        served = await dispatch.next()
        await trio.sleep(KEEP_TIME)
        async with carried(inbound) as client:
            number = await open_xudp(client, session_id=None)
            await trio.sleep(2 * KEEP_TIME)
            assert await received(served) == [b"q", b"q"]
            assert await served.datagrams.send([b"answer"]) == 0
            assert await client.receive() == Keep(number, b"answer", DNS)
            assert dispatch.running == 1
            await client.end(number)
            await trio.sleep(KEEP_TIME - 1)
            assert dispatch.running == 1
            assert await served.datagrams.send([b"nobody is there"]) == 1
            await trio.sleep(2)
            assert dispatch.running == 0


async def test_a_session_moves_to_another_carrier(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    inbound = make_inbound(dispatch)
    async with carried(inbound) as old, carried(inbound) as new:
        number = await open_xudp(old)
        served = await dispatch.next()
        await open_xudp(new)
        assert await old.receive() == End(number)
        await served.datagrams.send([b"answer"])
        assert await new.receive() == Keep(XUDP_SESSION, b"answer", DNS)
        served.let_go()


async def test_another_users_global_id_is_another_one(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    inbound = make_inbound(dispatch)
    async with carried(inbound) as ann, carried(inbound, user=BOB) as bob:
        await open_xudp(ann)
        hers = await dispatch.next()
        await open_xudp(bob)
        his = await dispatch.next()
        await hers.datagrams.send([b"for ann"])
        assert await ann.receive() == Keep(XUDP_SESSION, b"for ann", DNS)
        await his.datagrams.send([b"for bob"])
        assert await bob.receive() == Keep(XUDP_SESSION, b"for bob", DNS)
        assert hers.flow.association is not his.flow.association


async def test_another_port_of_the_inbound_goes_on_with_the_association(
    autojump_clock: MockClock,
) -> None:
    """Each dynamic port has assigned the client an account of its own."""
    dispatch, ids = Destinations(), GlobalIds()
    ports = [make_inbound(dispatch, global_ids=ids) for _ in range(2)]
    again = User(id=b"A" * 16, email=ANN.email.title())
    async with carried(ports[0], user=ANN) as old, carried(ports[1], user=again) as new:
        number = await open_xudp(old)
        served = await dispatch.next()
        await old.end(number)
        await open_xudp(new)
        await wait_all_tasks_blocked()
        await served.datagrams.send([b"answer"])
        assert await new.receive() == Keep(XUDP_SESSION, b"answer", DNS)
        assert dispatch.running == 1
        served.let_go()


async def test_users_without_an_email_are_told_apart_by_their_ids(
    autojump_clock: MockClock,
) -> None:
    dispatch, ids = Destinations(), GlobalIds()
    ports = [make_inbound(dispatch, global_ids=ids) for _ in range(2)]
    users = User(id=b"a" * 16), User(id=b"b" * 16)
    async with carried(ports[0], user=users[0]) as one, carried(ports[1], user=users[1]) as other:
        await open_xudp(one)
        await open_xudp(other)
        first, second = await dispatch.next(), await dispatch.next()
        assert first.flow.association is not second.flow.association


async def test_kept_associations_are_bounded(autojump_clock: MockClock) -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        for count in range(COUNT_MAX_OF_USER + 10):
            number = await open_xudp(client, session_id=None, global_id=(count + 1).to_bytes(8))
            await client.end(number)
        await wait_all_tasks_blocked()
        assert dispatch.running <= COUNT_MAX_OF_USER


def test_forgotten_global_ids_leave_nothing() -> None:
    ids, flow = GlobalIds(), Flow(destination=DNS, user=BOB)
    association = ClientAssociation(Destinations(), flow, is_full_cone=True)
    assert ids.add(BOB, GLOBAL_ID, association)
    assert ids.find(BOB, GLOBAL_ID) is association
    ids.remove(BOB, GLOBAL_ID, association)
    assert (len(ids), ids.find(BOB, GLOBAL_ID), ids._counts) == (0, None, {})


# Packetaddr


class Tunnel:
    """A client's link of command UDP."""

    def __init__(self) -> None:
        self.to_server, self._received = trio.open_memory_channel[bytes](100)
        self._sent, self.from_server = trio.open_memory_channel[bytes](100)
        self.is_closed = False

    async def receive(self) -> list[bytes]:
        try:
            return [await self._received.receive()]
        except trio.EndOfChannel:
            return []

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        for datagram in datagrams:
            await self._sent.send(datagram)
        return 0

    async def aclose(self) -> None:
        self.is_closed = True


FIRST, SECOND = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")


async def test_packetaddr_has_a_flow_for_each_address() -> None:
    dispatch, tunnel = Destinations(), Tunnel()
    link: PacketLink = tunnel
    flow = Flow(destination=DNS, user=BOB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_inbound(dispatch).serve_packetaddr, link, flow)
        await tunnel.to_server.send(encode_packetaddr(FIRST, 53, b"q"))
        first = await dispatch.next()
        await tunnel.to_server.send(encode_packetaddr(SECOND, 123, b"t"))
        second = await dispatch.next()
        assert [str(each.flow.destination) for each in (first, second)] == [
            "udp:192.0.2.1:53",
            "udp:[2001:db8::1]:123",
        ]
        assert first.flow.user == BOB
        assert await received(second) == [b"t"]
        await second.datagrams.send([b"noon"])
        assert await tunnel.from_server.receive() == encode_packetaddr(SECOND, 123, b"noon")
        await tunnel.to_server.aclose()
    assert tunnel.is_closed
    assert not dispatch.running


@pytest.mark.parametrize("wire", [b"", b"\x03nothing"])
async def test_a_datagram_without_an_address_ends_packetaddr(wire: bytes) -> None:
    dispatch, tunnel = Destinations(), Tunnel()
    async with trio.open_nursery() as nursery:
        flow = Flow(destination=DNS)
        nursery.start_soon(make_inbound(dispatch).serve_packetaddr, tunnel, flow)
        await tunnel.to_server.send(wire)
    assert tunnel.is_closed


IN_MUX = Destination(host=PACKETADDR_HOST, port=0, network=Network.UDP)


async def test_packetaddr_in_a_session_of_a_carrier_has_a_flow_for_each_address() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(IN_MUX, data=encode_packetaddr(FIRST, 53, b"q"))
        first = await dispatch.next()
        await client.send_datagram(number, encode_packetaddr(SECOND, 123, b"t"))
        second = await dispatch.next()
        assert [str(each.flow.destination) for each in (first, second)] == [
            "udp:192.0.2.1:53",
            "udp:[2001:db8::1]:123",
        ]
        assert first.flow.association is second.flow.association is not None
        assert await received(first) == [b"q"]
        assert await received(second) == [b"t"]
        await second.datagrams.send([b"noon"])
        assert await client.receive() == Keep(number, encode_packetaddr(SECOND, 123, b"noon"))
        first.let_go()
        second.let_go()


async def test_what_does_not_fit_with_its_address_is_dropped_there() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        number = await client.open(IN_MUX, data=encode_packetaddr(FIRST, 53, b"q"))
        served = await dispatch.next()
        fitting = bytes(PACKET_SIZE - 7)
        assert await served.datagrams.send([fitting + b"x", fitting]) == 1
        assert await client.receive() == Keep(number, encode_packetaddr(FIRST, 53, fitting))
        served.let_go()


async def test_a_datagram_without_an_address_ends_its_session_and_no_other() -> None:
    dispatch = Destinations()
    async with carried(make_inbound(dispatch)) as client:
        other = await client.open(DNS, data=b"q")
        beside = await dispatch.next()
        number = await client.open(IN_MUX, data=encode_packetaddr(FIRST, 53, b"q"))
        await dispatch.next()
        await client.send_datagram(number, b"\x03nothing")
        assert await client.receive() == End(number)
        await wait_all_tasks_blocked()
        assert dispatch.running == 1
        await beside.datagrams.send([b"answer"])
        assert await client.receive() == Keep(other, b"answer")
        beside.let_go()
