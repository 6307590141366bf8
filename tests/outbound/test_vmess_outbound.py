"""The VMess outbound: servers in turn, and the ports that they offer for some minutes.

The servers are our own inbound on loopback. Tests that depend on time use a clock that only the
test moves: an autojump clock would jump while real sockets are busy.
"""

import functools
import ipaddress
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW
from tests.kit.remote_ends import RemoteEnd, memory_pair
from tests.kit.scripted_remote import ScriptedRemote, open_remote
from tests.kit.sockets import clogged_listener, refused_port
from tests.relay.running import running
from trio_vmess.contracts import StreamSide
from trio_vmess.core import (
    Destination,
    Network,
    decode_packetaddr,
    encode_packetaddr,
    parse_host,
)
from trio_vmess.core.flow import Flow
from trio_vmess.core.vmess import V2RAY, Account, ReplayCache, SwitchAccount, UserRegistry
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.inbound import GlobalIds, RefusedConnections
from trio_vmess.inbound.vmess import VMessInbound
from trio_vmess.listen import SubConnectionFiles
from trio_vmess.outbound.offered_accounts import (
    OFFERED_MAX,
    SET_ASIDE_MAX,
    SET_ASIDE_TIME,
    UNANSWERED_MAX,
    Identity,
)
from trio_vmess.outbound.vmess import (
    OFFER_DIAL_LIMIT,
    Server,
    VMessOutbound,
)
from trio_vmess.relay import CloseReason, SharedBuffers
from trio_vmess.transport.dial import dial
from trio_vmess.transport.tcp import SocketTransport

LOOPBACK: Final = ipaddress.IPv4Address("127.0.0.1")
OWN: Final = Account(user_id=bytes(range(16)), email="love@example.com")
OTHER: Final = Account(user_id=bytes(range(16, 32)), email="other@example.com")
FLOW: Final = Flow(destination=Destination(host="example.com", port=443))
DATAGRAMS: Final = Flow(
    destination=Destination(host=parse_host("192.0.2.1"), port=53, network=Network.UDP)
)


@attrs.define(eq=False)
class EchoServer:
    """A VMess server on loopback that echoes.

    Attributes:
        port: where it listens.
        remote: what it has done.
        offers: what it offers next; None for nothing.
    """

    port: int
    remote: ScriptedRemote
    offers: Callable[[], SwitchAccount | None] = lambda: None
    refused: int = 0

    @property
    def count(self) -> int:
        """How many requests it has served."""
        return len(self.remote.outbound.flows)

    @property
    def users(self) -> list[str]:
        """The emails of the users of these requests."""
        return [flow.user.email for flow in self.remote.outbound.flows]


@asynccontextmanager
async def echo_server(*accounts: Account) -> AsyncIterator[EchoServer]:
    """Serve these accounts while the block runs."""
    users = UserRegistry(accounts or (OWN,))
    (listener,) = await trio.open_tcp_listeners(0, host=str(LOOPBACK))
    async with listener, open_remote() as remote, trio.open_nursery() as nursery:
        here = EchoServer(port=listener.socket.getsockname()[1], remote=remote)
        inbound = VMessInbound(
            remote.dispatch,
            tag="in",
            users=users,
            replay=ReplayCache(window=users.window),
            dialect=V2RAY,
            allow_insecure=True,
            entropy=SeededEntropy(here.port),
            clock=lambda: NOW,
            buffer=SharedBuffers().received,
            refused=RefusedConnections(),
            global_ids=GlobalIds(),
            files=SubConnectionFiles(),
            switch_account=lambda _email: here.offers(),
        )

        async def accept() -> None:
            while True:
                sock, (host, port) = await listener.socket.accept()
                transport = SocketTransport(socket.socket(fileno=sock.detach()))
                nursery.start_soon(
                    lambda transport, source: inbound.serve(
                        transport, source=source, deadline=math.inf
                    ),
                    transport,
                    f"{host}:{port}",
                )

        nursery.start_soon(accept)
        yield here
        nursery.cancel_scope.cancel()


def server(port: int, *identities: Identity) -> Server:
    return Server(host=LOOPBACK, port=port, identities=identities or (Identity(account=OWN),))


def make_outbound(*servers: Server, seed: int = 1, **options: Any) -> VMessOutbound:
    return VMessOutbound(
        tag="proxy",
        servers=servers,
        dialect=V2RAY,
        padding=True,
        entropy=SeededEntropy(seed),
        clock=lambda: NOW,
        machine="x86_64",
        buffer=SharedBuffers().received,
        connect=dial,
        **options,
    )


async def talk(side: StreamSide) -> None:
    """Relay a short conversation over the side, to its end."""
    client_transport, peer = memory_pair()
    client = RemoteEnd(peer)
    async with running(StreamSide(transport=client_transport), side) as relay:
        await client.send(b"hello")
        assert await client.receive_exactly(5) == b"hello"
        await client.send_eof()
        assert await client.receive_all() == b""
        await relay.ended.wait()
    assert relay.result == (CloseReason.FINISHED, "")


async def visit(outbound: VMessOutbound) -> None:
    await talk((await outbound.connect(FLOW)).remote)


def offer(port: int, account: Account = OTHER, minutes: int = 5) -> SwitchAccount:
    return SwitchAccount(port=port, user_id=account.user_id, minutes=minutes)


# Servers ----------------------------------------------------------------------------------------


async def test_servers_take_turns() -> None:
    async with echo_server() as first, echo_server() as second, echo_server() as third:
        outbound = make_outbound(*(server(each.port) for each in (first, second, third)))
        for _ in range(6):
            await visit(outbound)
        assert [first.count, second.count, third.count] == [2, 2, 2]
        assert first.remote.outbound.flows[0].destination == FLOW.destination


async def test_a_server_that_is_down_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess.outbound.vmess")
    down = refused_port()
    async with echo_server() as up:
        outbound = make_outbound(server(down), server(up.port))
        for _ in range(4):
            await visit(outbound)
        assert up.count == 4
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("vmess")]
    assert len(lines) == 2
    assert lines[0].startswith(f"vmess.server_unreachable server=127.0.0.1:{down} reason=")


async def test_all_servers_down_is_a_dial_error() -> None:
    outbound = make_outbound(server(refused_port()), server(refused_port()))
    for connect in (outbound.connect, outbound.connect_packets):
        with pytest.raises(DialError) as caught:
            await connect(FLOW)
        assert caught.value.reason is DialFailure.PARENT_PROXY
        assert str(caught.value).count("refused") == 2


async def test_the_side_has_the_local_address_and_flush_delay() -> None:
    async with echo_server() as here:
        side = (await make_outbound(server(here.port)).connect(FLOW)).remote
        assert isinstance(side.transport, SocketTransport)
        assert side.transport.local is not None
        ours = (str(side.transport.local.host), side.transport.local.port)
        assert ours == side.transport.socket.getsockname()
        assert side.flush_after == 0.1
        await side.transport.aclose()


async def test_connections_use_random_identities() -> None:
    identities = [Identity(account=OWN), Identity(account=OTHER, security="chacha20-poly1305")]
    async with echo_server(OWN, OTHER) as here:
        outbound = make_outbound(server(here.port, *identities))
        for _ in range(12):
            await visit(outbound)
        assert set(here.users) == {"love@example.com", "other@example.com"}


@pytest.mark.parametrize(
    "security", ["auto", "aes-128-gcm", "chacha20-poly1305", "none", "zero", "aes-128-cfb"]
)
@pytest.mark.parametrize("authenticated_length", [False, True])
@pytest.mark.parametrize("alter_ids", [0, 2])
async def test_every_security_and_header_form(
    security: str, authenticated_length: bool, alter_ids: int
) -> None:
    account = attrs.evolve(OWN, alter_id_count=alter_ids)
    identity = Identity(
        account=account, security=security, authenticated_length=authenticated_length
    )
    async with echo_server(account) as here:
        await visit(make_outbound(server(here.port, identity)))
        assert here.count == 1


async def test_a_host_that_vmess_cannot_encode_is_unsupported() -> None:
    async with echo_server() as here:
        outbound = make_outbound(server(here.port))
        for host in ("exa mple.com", "a\nb", "x" * 256):
            what = Flow(destination=Destination(host=host, port=443))
            for connect in (outbound.connect, outbound.connect_packets):
                with pytest.raises(DialError) as caught:
                    await connect(what)
                assert caught.value.reason is DialFailure.UNSUPPORTED
        assert here.count == 0


async def test_an_exception_after_dialling_closes_the_socket() -> None:
    """A socket that is dropped rather than closed warns, and warnings are errors here."""

    class Dry(SeededEntropy):
        def token_bytes(self, nbytes: int, /) -> bytes:
            raise RuntimeError("a bug")

    async with echo_server() as here:
        outbound = make_outbound(server(here.port))
        outbound._entropy = Dry()
        with pytest.raises(RuntimeError, match="a bug"):
            await outbound.connect(FLOW)


@pytest.mark.parametrize("sends_terminator", [True, False])
async def test_the_terminator_is_optional(sends_terminator: bool) -> None:
    async with echo_server() as here:
        identity = Identity(account=OWN, sends_terminator=sends_terminator)
        outbound = make_outbound(server(here.port, identity))
        side = (await outbound.connect(FLOW)).remote
        assert side.sealer is not None
        out = memoryview(bytearray(1000))
        await side.transport.send_all(out[: side.sealer.update_into(b"x", out)])
        assert (side.sealer.finalize_into(out) > 0) is sends_terminator
        await side.transport.aclose()
        # The relay finishes without an error in both cases.
        await visit(outbound)


async def test_datagrams_go_through_one_connection() -> None:
    async with echo_server() as here:
        outbound = make_outbound(server(here.port))
        link = (await outbound.connect_packets(DATAGRAMS)).remote
        await link.send([b"question", b"another"])
        answers: list[bytes] = []
        while len(answers) < 2:
            answers += await link.receive()
        assert answers == [b"udp:192.0.2.1:53: question", b"udp:192.0.2.1:53: another"]
        await link.aclose()
        assert here.remote.outbound.flows[0].destination == DATAGRAMS.destination


@pytest.mark.parametrize(("options", "limit"), [({}, 1950), ({"packet_size": 8000}, 8000)])
@pytest.mark.parametrize("security", ["aes-128-gcm", "none", "zero"])
async def test_datagrams_that_a_server_would_cut_are_dropped(
    security: str, options: dict[str, int], limit: int
) -> None:
    async with echo_server() as here:
        outbound = make_outbound(
            server(here.port, Identity(account=OWN, security=security)), **options
        )
        link = (await outbound.connect_packets(DATAGRAMS)).remote
        assert await link.send([b"1" * limit, b"2" * (limit + 1), b"3"]) == 1
        answers: list[bytes] = []
        while len(answers) < 2:
            answers += await link.receive()
        assert [answer.partition(b": ")[2] for answer in answers] == [b"1" * limit, b"3"]
        await link.aclose()


async def test_packetaddr_carries_datagrams_to_many_addresses() -> None:
    addresses = [parse_host("192.0.2.1"), parse_host("2001:db8::1")]
    async with echo_server() as here:
        link = await make_outbound(server(here.port)).connect_packetaddr()
        assert link.size_max == 1950
        for number, host in enumerate(addresses):
            assert not isinstance(host, str)
            await link.send([encode_packetaddr(host, 53, b"%d" % number)])
            (answer,) = await link.receive()
            source, payload = decode_packetaddr(answer)
            assert (source.host, source.port) == (host, 53)
            assert payload == b"%s: %d" % (str(source).encode(), number)
        await link.aclose()
        assert [flow.destination.host for flow in here.remote.outbound.flows] == addresses


async def test_only_streams_of_datagrams_are_given_up_soon() -> None:
    async with echo_server() as here:
        impatient = functools.partial(dial, patience=2.5)
        outbound = make_outbound(server(here.port), connect_packets=impatient)
        side = (await outbound.connect(FLOW)).remote
        link = (await outbound.connect_packets(DATAGRAMS)).remote
        for transport, expected in ((side.transport, 0), (link._link._transport, 2500)):
            found = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert found == expected
            await transport.aclose()


# Offered ports ----------------------------------------------------------------------------------


async def test_an_offered_port_is_used_while_it_lasts(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess.outbound.vmess")
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(offered.port, minutes=5)
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        assert outbound.offered_ports == [(LOOPBACK, offered.port)]
        for _ in range(3):
            await visit(outbound)
        assert (main.count, offered.count) == (1, 3)
        assert offered.users == ["other@example.com"] * 3
        mock_clock.jump(5 * 60 - 1)
        await visit(outbound)
        assert (main.count, offered.count) == (1, 4)
        mock_clock.jump(1)
        assert outbound.offered_ports == []
        main.offers = lambda: None
        await visit(outbound)
        await visit(outbound)
        assert (main.count, offered.count) == (3, 4)
    lines = [each.getMessage() for each in caplog.records if "account_offered" in each.getMessage()]
    assert lines == [f"vmess.account_offered server=127.0.0.1:{offered.port} minutes=5"]


async def test_an_offered_port_that_refuses_is_given_up_at_once(mock_clock: MockClock) -> None:
    async with echo_server() as main:
        main.offers = lambda: offer(refused_port())
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        assert len(outbound.offered_ports) == 1
        main.offers = lambda: None
        await visit(outbound)
        assert outbound.offered_ports == []
        assert main.count == 2
        # The clock did not move: the fallback did not wait.
        assert trio.current_time() == 0


async def test_an_offered_port_that_does_not_accept_times_out(mock_clock: MockClock) -> None:
    clogged = clogged_listener()
    async with echo_server() as main, trio.open_nursery() as nursery:
        main.offers = lambda: offer(clogged.getsockname()[1])
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        main.offers = lambda: None
        nursery.start_soon(visit, outbound)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert main.count == 1
        mock_clock.jump(OFFER_DIAL_LIMIT)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert main.count == 2
        assert outbound.offered_ports == []


async def test_offered_ports_behind_a_dropping_firewall_cost_one_timeout(
    mock_clock: MockClock,
) -> None:
    clogged, other = clogged_listener(), clogged_listener()
    async with echo_server() as main, trio.open_nursery() as nursery:
        main.offers = lambda: offer(clogged.getsockname()[1])
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        nursery.start_soon(visit, outbound)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert main.count == 1
        # While one connection waits, the others take the main port, at once.
        await visit(outbound)
        await visit(outbound)
        assert main.count == 3
        assert outbound.offered_ports == [(LOOPBACK, clogged.getsockname()[1])]
        mock_clock.jump(OFFER_DIAL_LIMIT)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert main.count == 4
        # The server goes on offering this port and others.
        for _ in range(3):
            await visit(outbound)
            main.offers = lambda: offer(other.getsockname()[1])
        assert main.count == 7
        assert outbound.offered_ports == []
        assert trio.current_time() == OFFER_DIAL_LIMIT
        mock_clock.jump(SET_ASIDE_TIME)
        await visit(outbound)
        assert outbound.offered_ports == [(LOOPBACK, other.getsockname()[1])]


async def test_an_offered_port_that_refuses_leaves_the_other_ports_alone(
    mock_clock: MockClock,
) -> None:
    refusing = refused_port()
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(refusing)
        outbound = make_outbound(server(main.port))
        for _ in range(3):
            await visit(outbound)
        assert outbound.offered_ports == []
        main.offers = lambda: offer(offered.port)
        for _ in range(3):
            await visit(outbound)
        assert (main.count, offered.count) == (4, 2)


async def test_a_cancelled_dial_says_nothing_about_an_offered_port(mock_clock: MockClock) -> None:
    clogged = clogged_listener()
    async with echo_server() as main:
        main.offers = lambda: offer(clogged.getsockname()[1])
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(visit, outbound)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
            # It waited for the offered port.
            assert main.count == 1
        assert len(outbound.offered_ports) == 1


async def test_only_so_many_places_are_set_aside(mock_clock: MockClock) -> None:
    async with echo_server() as main:
        hosts = (parse_host(f"127.0.0.{number}") for number in range(2, 255))
        port = refused_port()
        main.offers = lambda: attrs.evolve(offer(port), host=next(hosts))
        outbound = make_outbound(server(main.port))
        for _ in range(SET_ASIDE_MAX + 5):
            await visit(outbound)
        assert main.count == SET_ASIDE_MAX + 5
        assert len(outbound._offers._set_aside) == SET_ASIDE_MAX


async def test_an_offered_account_that_is_unknown_is_passed_over(mock_clock: MockClock) -> None:
    """The server was restarted: it does not know its old accounts, and is silent to them."""
    async with echo_server() as main, echo_server(OWN) as offered:
        main.offers = lambda: offer(offered.port, OTHER)
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        for _ in range(UNANSWERED_MAX):
            side = (await outbound.connect(FLOW)).remote
            await side.transport.aclose()
        assert main.count == 1
        # The server repeats the offer; the account is still skipped.
        await visit(outbound)
        await visit(outbound)
        assert (main.count, offered.count) == (3, 0)


async def test_a_response_resets_the_count_of_unanswered_requests(mock_clock: MockClock) -> None:
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(offered.port)
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        for _ in range(3):
            for _ in range(UNANSWERED_MAX - 1):
                side = (await outbound.connect(FLOW)).remote
                await side.transport.aclose()
            await visit(outbound)
        assert main.count == 1


async def test_a_repeated_offer_replaces_the_earlier_one(mock_clock: MockClock) -> None:
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(offered.port, minutes=5)
        outbound = make_outbound(server(main.port))
        sides = [(await outbound.connect(FLOW)).remote for _ in range(3)]
        for side in sides:
            mock_clock.jump(15)
            await talk(side)
        assert outbound.offered_ports == [(LOOPBACK, offered.port)]
        # The last one sets the time.
        mock_clock.jump(5 * 60 - 1)
        assert len(outbound.offered_ports) == 1
        mock_clock.jump(1)
        assert outbound.offered_ports == []


async def test_the_oldest_offers_are_dropped(mock_clock: MockClock) -> None:
    async with echo_server() as main:
        ports = iter(range(1, 100))
        main.offers = lambda: offer(next(ports))
        outbound = make_outbound(server(main.port))
        sides = [(await outbound.connect(FLOW)).remote for _ in range(OFFERED_MAX + 5)]
        for side in sides:
            await talk(side)
        assert [port for _, port in outbound.offered_ports] == list(range(6, OFFERED_MAX + 6))


async def test_an_offer_may_name_another_host(mock_clock: MockClock) -> None:
    async with echo_server() as main:
        elsewhere = parse_host("127.0.0.77")
        main.offers = lambda: attrs.evolve(offer(refused_port()), host=elsewhere)
        outbound = make_outbound(server(main.port))
        await visit(outbound)
        assert [host for host, _ in outbound.offered_ports] == [elsewhere]
        main.offers = lambda: None
        await visit(outbound)
        assert main.count == 2


async def test_an_offer_for_zero_minutes_is_ignored(mock_clock: MockClock) -> None:
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(offered.port, minutes=0)
        outbound = make_outbound(server(main.port))
        for _ in range(3):
            await visit(outbound)
        assert outbound.offered_ports == []
        assert (main.count, offered.count) == (3, 0)


async def test_datagrams_use_offered_ports_and_make_offers(mock_clock: MockClock) -> None:
    async with echo_server() as main, echo_server(OTHER) as offered:
        main.offers = lambda: offer(offered.port)
        outbound = make_outbound(server(main.port))
        for _ in range(2):
            link = (await outbound.connect_packets(DATAGRAMS)).remote
            await link.send([b"x"])
            assert await link.receive() == [b"udp:192.0.2.1:53: x"]
            await link.aclose()
        assert (main.count, offered.count) == (1, 1)
