"""Requests for Mux.Cool and packetaddr at the VMess inbound, down to dispatch and the log."""

import ipaddress
import logging

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.inbound.test_vmess_inbound import SOURCE, Caller, make_inbound
from tests.kit.mux_client import MuxCaller
from tests.kit.pair import account, request
from tests.kit.pattern import pattern
from tests.kit.scripted_remote import open_remote
from trio_vmess.contracts import StreamSide
from trio_vmess.core import (
    PACKETADDR_HOST,
    Destination,
    Network,
    PrefixedCodec,
    User,
    decode_packetaddr,
    encode_packetaddr,
)
from trio_vmess.core.mux import End, Keep
from trio_vmess.core.vmess import (
    MUX_DESTINATION,
    Command,
    PacketBody,
    Request,
    StreamBody,
)
from trio_vmess.errors import DialFailure
from trio_vmess.transport import BodyPacketLink, SideTransport

WEB = Destination(host="example.com", port=443)


def open_carrier(caller: Caller, what: Request) -> MuxCaller:
    header = caller.connection.send(what)
    body = caller.connection.hand_over_early(caller.responses.append)
    assert isinstance(body, StreamBody)
    sealer = PrefixedCodec(header, body.sealer)
    side = StreamSide(transport=caller.transport, opener=body.opener, sealer=sealer)
    return MuxCaller(SideTransport(side))


ASKED = {
    "by command": request(account(), command=Command.MUX, destination=MUX_DESTINATION),
    "by name": request(account(), destination=attrs.evolve(MUX_DESTINATION, port=9)),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_a_mux_request_opens_a_carrier(
    asked: Request, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trio_vmess")
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        client = open_carrier(caller, asked)
        number = await client.open(WEB, data=b"hello")
        assert await client.receive() == Keep(number, b"hello")
        data = pattern(300_000)
        await client.send(number, data)
        assert await client.receive_data(len(data)) == data
        await client.end(number)
        await client.transport.send_eof()
        assert await client.receive() is None
    (flow,) = remote.outbound.flows
    assert (flow.destination, flow.source, flow.inbound_tag) == (WEB, SOURCE, "in")
    assert flow.user == User(id=account().user_id, email="love@example.com", level=2)
    assert remote.outbound.all_closed
    assert caller.accepted.closed
    lines = [record.getMessage() for record in caplog.records]
    accepted = next(line for line in lines if line.startswith("accepted"))
    assert f"user=love@example.com carrier={flow.carrier} network=tcp" in accepted
    closed = next(line for line in lines if line.startswith("closed"))
    assert " up=300005 down=300005 " in closed
    assert f"mux.closed source={SOURCE} carrier={flow.carrier} reason=" in lines[-1]


async def test_a_violation_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess.inbound.mux")
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        client = open_carrier(caller, ASKED["by command"])
        await client.transport.send_all(bytes(4))
        assert await client.receive() is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"mux.violation source={SOURCE} carrier=")
    assert "0 bytes of metadata" in record.getMessage()


async def test_a_destination_that_is_not_reached_is_an_error(autojump_clock: MockClock) -> None:
    async with (
        open_remote(failure=DialFailure.REFUSED) as remote,
        trio.open_nursery() as nursery,
    ):
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        client = open_carrier(caller, ASKED["by command"])
        number = await client.open(WEB, data=b"hello")
        assert await client.receive() == End(number, is_error=True)
        await client.transport.aclose()


async def test_a_packetaddr_request_has_a_flow_for_each_address(autojump_clock: MockClock) -> None:
    asked = request(
        account(),
        command=Command.UDP,
        destination=Destination(host=PACKETADDR_HOST, port=0, network=Network.UDP),
    )
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        header = caller.connection.send(asked)
        body = caller.connection.hand_over_early(caller.responses.append)
        assert isinstance(body, PacketBody)
        buffer = memoryview(bytearray(65_536))
        link = BodyPacketLink(caller.transport, body, prefix=header, buffer=buffer)
        for last in (1, 2):
            host = ipaddress.ip_address(f"192.0.2.{last}")
            await link.send([encode_packetaddr(host, 53, b"query")])
            (answer,) = await link.receive()
            source, payload = decode_packetaddr(answer)
            assert source == Destination(host=host, port=53, network=Network.UDP)
            assert payload == f"udp:192.0.2.{last}:53: query".encode()
        await link.aclose()
    assert len(remote.outbound.flows) == 2
    assert remote.outbound.all_closed


async def test_a_user_who_was_removed_opens_nothing_more(autojump_clock: MockClock) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch)
        caller = Caller(inbound)
        nursery.start_soon(caller.served)
        client = open_carrier(caller, ASKED["by command"])
        number = await client.open(WEB, data=b"hello")
        assert await client.receive() == Keep(number, b"hello")
        inbound.users.remove(account().user_id)
        refused = await client.open(WEB)
        assert await client.receive() == End(refused, is_error=True)
        await client.send(number, b"goes on")
        assert await client.receive() == Keep(number, b"goes on")
        await client.transport.aclose()
