"""The SOCKS inbound: streams over memory streams, UDP over loopback sockets."""

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.inbound_client import SOURCE, InboundClient, open_client
from tests.kit.scripted_remote import ScriptedRemote, open_remote
from tests.kit.socks_client import decode_address, encode_address
from trio_vmess.contracts import Dispatch
from trio_vmess.core import Destination, Flow, Network, User
from trio_vmess.core.socks import ReplyCode
from trio_vmess.errors import DialFailure
from trio_vmess.inbound import SocksInbound
from trio_vmess.inbound.association_limit import AssociationLimit
from trio_vmess.inbound.socks import REPLY_CODES

HELLO = b"\x05\x01\x00"
LOGIN = b"\x05\x01\x02\x01\x03ann\x06secret"
ADDRESS = encode_address("example.com", 443)
CONNECT = b"\x05\x01\x00" + ADDRESS
ASSOCIATE = b"\x05\x03\x00" + encode_address("0.0.0.0", 0)
GRANTED = b"\x05\x00\x00" + encode_address("192.0.2.7", 4711)
LOOPBACK = "127.0.0.1"


def inbound(
    dispatch: Dispatch,
    *,
    accounts: dict[str, str] | None = None,
    udp: bool = False,
    udp_address: str = "",
    associations: AssociationLimit | None = None,
) -> SocksInbound:
    return SocksInbound(
        dispatch,
        tag="local",
        level=3,
        accounts=accounts,
        udp=udp,
        udp_address=ipaddress.ip_address(udp_address) if udp_address else None,
        associations=associations,
    )


async def test_connect_with_early_data(autojump_clock: trio.testing.MockClock) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(HELLO + CONNECT + b"early")
        assert await client.receive(2 + len(GRANTED) + 5) == b"\x05\x00" + GRANTED + b"early"
        await client.send(b" and late")
        assert await client.receive(9) == b" and late"
        await client.stream.send_eof()
        assert await client.receive_rest() == b""
        destination = Destination(host="example.com", port=443)
        flow = Flow(destination=destination, source=SOURCE, inbound_tag="local", user=User(level=3))
        assert remote.outbound.flows == [flow]
        await client.returned.wait()
        assert remote.outbound.all_closed


async def test_connect_byte_by_byte_with_a_password(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_remote() as remote,
        open_client(inbound(remote.dispatch, accounts={"ann": "secret"})) as client,
    ):
        for byte in LOGIN + CONNECT:
            await client.send(bytes([byte]))
        assert await client.receive(4 + len(GRANTED)) == b"\x05\x02\x01\x00" + GRANTED
        users = [flow.user for flow in remote.outbound.flows]
        assert users == [User(id=b"ann", email="ann", level=3)]


async def test_socks4(autojump_clock: trio.testing.MockClock) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00ping")
        assert await client.receive(12) == bytes.fromhex("005a1267c0000207") + b"ping"


@pytest.mark.parametrize("failure", list(DialFailure))
async def test_each_dial_failure_has_its_reply_code(
    failure: DialFailure, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        open_remote(failure=failure) as remote,
        open_client(inbound(remote.dispatch)) as client,
    ):
        await client.send(HELLO + CONNECT + b"data that nobody reads")
        reply = bytes([5, REPLY_CODES[failure], 0]) + encode_address("0.0.0.0", 0)
        assert await client.receive_rest() == b"\x05\x00" + reply
        assert REPLY_CODES[failure] is not ReplyCode.SUCCEEDED


@pytest.mark.parametrize(
    ("sent", "answer", "reason"),
    [
        (HELLO, b"\x05\xff", "user name and a password"),
        (LOGIN[:-1] + b"x", b"\x05\x02\x01\xff", "is wrong"),
        (b"GET / HTTP/1.1\r\n\r\n", b"", "HTTP"),
    ],
)
async def test_invalid_handshakes_are_refused(
    sent: bytes,
    answer: bytes,
    reason: str,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_remote() as remote,
        open_client(inbound(remote.dispatch, accounts={"ann": "secret"})) as client,
    ):
        await client.send(sent)
        assert await client.receive_rest() == answer
        assert remote.outbound.flows == []
    (message,) = caplog.messages
    assert message.startswith(f"socks.refused source={SOURCE} reason=")
    assert reason in message
    assert "secret" not in message


@pytest.mark.parametrize("sent", [b"", b"\x05", HELLO, HELLO + CONNECT[:-1]])
async def test_the_request_must_arrive_before_the_handshake_deadline(
    sent: bytes, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    begin = trio.current_time()
    async with (
        open_remote() as remote,
        open_client(inbound(remote.dispatch), handshake=5.0) as client,
    ):
        await client.send(sent)
        await client.receive_rest()
        assert trio.current_time() - begin == pytest.approx(5.0)
    assert caplog.messages == [
        f"socks.refused source={SOURCE} reason='no complete request before the handshake deadline'"
    ]


async def test_a_client_that_closes_during_the_handshake(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_remote() as remote:
        async with open_client(inbound(remote.dispatch)) as client:
            await client.send(HELLO)
        assert remote.outbound.flows == []
        assert trio.current_time() < 1


async def test_udp_associate_is_refused_unless_enabled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_remote() as remote, open_client(inbound(remote.dispatch)) as client:
        await client.send(HELLO + ASSOCIATE)
        reply = b"\x05\x07\x00" + encode_address("0.0.0.0", 0)
        assert await client.receive_rest() == b"\x05\x00" + reply


def test_cancellation_at_any_checkpoint_closes_everything() -> None:
    def build() -> Scenario:
        sides: list[ScriptedRemote] = []
        clients: list[InboundClient] = []

        async def run() -> None:
            async with open_remote() as remote:
                sides.append(remote)
                async with open_client(inbound(remote.dispatch)) as client:
                    clients.append(client)
                    await client.send(HELLO)
                    await client.send(CONNECT + b"early")
                    assert await client.receive(2 + len(GRANTED) + 5)
                    await client.stream.send_eof()
                    assert await client.receive_rest() == b""

        def check() -> None:
            assert all(client.transport.closed for client in clients)
            assert all(remote.outbound.all_closed for remote in sides)
            assert not any(remote.dispatch.connections for remote in sides)

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 20


# UDP --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Association:
    """A client with an association: its control connection, and a UDP socket."""

    client: InboundClient
    told: tuple[str, int]
    relay: tuple[str, int]
    sock: trio.socket.SocketType

    async def send(self, host: str, port: int, payload: bytes) -> None:
        await self.sock.sendto(b"\x00\x00\x00" + encode_address(host, port) + payload, self.relay)

    async def receive(self) -> tuple[str, int, bytes]:
        packet, source = await self.sock.recvfrom(65535)
        assert source == self.relay
        assert packet[:3] == b"\x00\x00\x00"
        return decode_address(packet[3:])


@asynccontextmanager
async def associate(remote: ScriptedRemote, *, udp_address: str = "") -> AsyncIterator[Association]:
    async with open_client(inbound(remote.dispatch, udp=True, udp_address=udp_address)) as client:
        await client.send(HELLO + ASSOCIATE)
        reply = await client.receive(12)
        assert reply[:5] == b"\x05\x00\x05\x00\x00"
        host, port, rest = decode_address(reply[5:])
        assert rest == b""
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind((LOOPBACK, 0))
            yield Association(client, (host, port), (LOOPBACK, port), sock)


async def test_udp_with_two_destinations() -> None:
    async with open_remote() as remote, associate(remote) as association:
        assert association.told == association.relay
        await association.send("example.com", 53, b"one")
        assert await association.receive() == ("example.com", 53, b"udp:example.com:53: one")
        await association.send("2001:db8::1", 5353, b"two")
        assert await association.receive() == ("2001:db8::1", 5353, b"udp:[2001:db8::1]:5353: two")
        await association.send("example.com", 53, b"three")
        assert await association.receive() == ("example.com", 53, b"udp:example.com:53: three")
        await association.send("example.com", 53, b"")
        assert await association.receive() == ("example.com", 53, b"udp:example.com:53: ")
        expected = [
            Flow(
                destination=Destination(host=host, port=port, network=Network.UDP),
                source=SOURCE,
                inbound_tag="local",
                user=User(level=3),
            )
            for host, port in [("example.com", 53), (ipaddress.ip_address("2001:db8::1"), 5353)]
        ]
        assert [attrs.evolve(flow, association=None) for flow in remote.outbound.flows] == expected


FAILED = b"\x05\x01\x00\x01" + bytes(6)


async def test_associations_of_one_address_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    limit = AssociationLimit(total=3, per_client=2)
    async with open_remote() as remote:
        served = inbound(remote.dispatch, udp=True, associations=limit)
        async with open_client(served) as first, open_client(served) as second:
            for client in (first, second):
                await client.send(HELLO + ASSOCIATE)
                assert (await client.receive(12))[3:4] == b"\x00"
            async with open_client(served) as third:
                await third.send(HELLO + ASSOCIATE)
                assert await third.receive_rest() == b"\x05\x00" + FAILED
            # Others still have theirs, up to the bound for all.
            async with open_client(served, source="127.0.0.2:50000") as other:
                await other.send(HELLO + ASSOCIATE)
                assert (await other.receive(12))[3:4] == b"\x00"
                async with open_client(served, source="127.0.0.3:50000") as too_many:
                    await too_many.send(HELLO + ASSOCIATE)
                    assert await too_many.receive_rest() == b"\x05\x00" + FAILED
            await first.stream.aclose()
            await first.returned.wait()
            async with open_client(served) as later:
                await later.send(HELLO + ASSOCIATE)
                assert (await later.receive(12))[3:4] == b"\x00"
    assert caplog.messages == [
        f"socks.refused source={SOURCE} reason='the client has 2 UDP associations already'",
        "socks.refused source=127.0.0.3:50000 reason='there are 3 UDP associations already'",
    ]


async def test_associations_are_bounded_by_user_where_there_are_users() -> None:
    limit = AssociationLimit(total=9, per_client=1)
    bob = b"\x05\x01\x02\x01\x03bob\x05other"
    async with open_remote() as remote:
        served = inbound(
            remote.dispatch,
            udp=True,
            accounts={"ann": "secret", "bob": "other"},
            associations=limit,
        )
        async with open_client(served) as first, open_client(served) as second:
            for client, login in ((first, LOGIN), (second, bob)):
                await client.send(login + ASSOCIATE)
                assert (await client.receive(14))[5:6] == b"\x00"
            async with open_client(served, source="127.0.0.2:50000") as third:
                await third.send(LOGIN + ASSOCIATE)
                assert await third.receive_rest() == b"\x05\x02\x01\x00" + FAILED


async def test_udp_with_a_burst() -> None:
    async with open_remote() as remote, associate(remote) as association:
        for number in range(100):
            await association.send("192.0.2.1", 53, b"%d" % number)
        answers = [(await association.receive())[2] for _ in range(100)]
        assert answers == [b"udp:192.0.2.1:53: %d" % number for number in range(100)]
        (link,) = remote.outbound.links
        assert len(link.batches) < 100


async def test_udp_association_ends_with_its_connection() -> None:
    async with open_remote() as remote, associate(remote) as association:
        await association.send("192.0.2.1", 53, b"ping")
        await association.receive()
        await association.client.stream.aclose()
        await association.client.returned.wait()
        assert remote.outbound.all_closed
        assert remote.dispatch.connections == set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(association.relay)


async def test_udp_accepts_datagrams_of_its_client_only() -> None:
    async with open_remote() as remote, associate(remote) as association:
        packet = b"\x00\x00\x00" + encode_address("192.0.2.1", 53)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late,
        ):
            foreign.bind(("127.0.0.2", 0))
            foreign.sendto(packet + b"foreign", association.relay)
            # Neither a fragment nor rubbish takes the place of the first port.
            late.bind((LOOPBACK, 0))
            late.sendto(b"\x00\x00\x01" + packet[3:] + b"fragment", association.relay)
            late.sendto(b"rubbish", association.relay)
            await association.send("192.0.2.1", 53, b"first")
            await association.receive()
            late.sendto(packet + b"late", association.relay)
            foreign.sendto(packet + b"foreign", association.relay)
            await association.send("192.0.2.1", 53, b"last")
            await association.receive()
        (link,) = remote.outbound.links
        assert link.batches == [[b"first"], [b"last"]]


async def test_udp_reply_contains_the_configured_address() -> None:
    async with (
        open_remote() as remote,
        associate(remote, udp_address="198.51.100.9") as association,
    ):
        assert association.told == ("198.51.100.9", association.relay[1])


async def test_udp_to_an_unreachable_destination() -> None:
    async with (
        open_remote(failure=DialFailure.FORBIDDEN) as remote,
        associate(remote) as association,
    ):
        for _ in range(2):
            await association.send("192.0.2.1", 53, b"lost")
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert len(remote.outbound.flows) == 2
        assert remote.dispatch.connections == set()


def test_cancellation_of_a_udp_association_closes_everything() -> None:
    def build() -> Scenario:
        sides: list[ScriptedRemote] = []
        clients: list[InboundClient] = []

        async def run() -> None:
            async with open_remote() as remote:
                sides.append(remote)
                async with associate(remote) as association:
                    clients.append(association.client)
                    await association.send("192.0.2.1", 53, b"ping")
                    await association.receive()

        def check() -> None:
            assert all(client.transport.closed for client in clients)
            assert all(remote.outbound.all_closed for remote in sides)
            assert not any(remote.dispatch.connections for remote in sides)

        return Scenario(run=run, check=check)

    # A UDP socket that stays open is a ResourceWarning, and that is an error.
    assert sweep_cancellations(build, autojump=False) > 20
