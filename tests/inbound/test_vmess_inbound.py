"""The VMess inbound: known users are served; refused clients get no byte, whatever they send."""

import logging
import math
from collections.abc import Callable
from typing import Final

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.entropy import SeededEntropy
from tests.kit.origin import start_delayed_reply
from tests.kit.pair import NOW, USER_ID, account, request
from tests.kit.pattern import pattern
from tests.kit.remote_ends import RemoteEnd, memory_pair
from tests.kit.scripted_remote import ScriptedRemote, TrackedTransport, open_remote
from tests.kit.sockets import close_sockets, reset, tcp_pair
from trio_vmess.contracts import Dispatch, Fallback, Transport
from trio_vmess.core import Destination, Network, User, parse_host
from trio_vmess.core.crypto import fnv1a
from trio_vmess.core.flow import Flow
from trio_vmess.core.policy import Policy
from trio_vmess.core.vmess import (
    MUX_DESTINATION,
    V2RAY,
    AuthMatch,
    ClientConnection,
    Command,
    PacketBody,
    ReplayCache,
    Request,
    Response,
    Security,
    StreamBody,
    SwitchAccount,
    UserRegistry,
)
from trio_vmess.core.vmess.auth import derive_auth_id_key, seal_auth_id
from trio_vmess.core.vmess.header import (
    RequestHeader,
    encode_request_header,
    seal_aead_header,
)
from trio_vmess.core.vmess.legacy_table import NotReady
from trio_vmess.dispatch.access_log import AccessLog
from trio_vmess.dispatch.dispatcher import Dispatcher
from trio_vmess.dispatch.first_outbound import FirstOutbound
from trio_vmess.errors import DialFailure
from trio_vmess.inbound import GlobalIds, RefusedConnections
from trio_vmess.inbound.refused import FREE_SIZE, RECEIVE_BUFFER_SIZE
from trio_vmess.inbound.vmess import CLOCK_SEARCH_PAUSE, VMessInbound
from trio_vmess.listen import SubConnectionFiles
from trio_vmess.outbound.freedom import FreedomOutbound
from trio_vmess.relay import SharedBuffers
from trio_vmess.transport.packets import BodyPacketLink
from trio_vmess.transport.tcp import SocketTransport

HANDSHAKE: Final = 60.0
SOURCE: Final = "192.0.2.9:5000"


def now() -> int:
    """UTC seconds that move with Trio's clock."""
    return NOW + int(trio.current_time())


def make_inbound(
    dispatch: Dispatch,
    *,
    alter_ids: int = 0,
    allow_insecure: bool = True,
    switch_account: Callable[[str], SwitchAccount | None] | None = None,
    clock: Callable[[], int] = now,
    fallback: Fallback | None = None,
) -> VMessInbound:
    """Return an inbound with one user."""
    users = UserRegistry([attrs.evolve(account(alter_ids), level=2)])
    return VMessInbound(
        dispatch,
        tag="in",
        users=users,
        replay=ReplayCache(window=users.window),
        dialect=V2RAY,
        allow_insecure=allow_insecure,
        entropy=SeededEntropy(5),
        clock=clock,
        buffer=SharedBuffers().received,
        refused=RefusedConnections(),
        global_ids=GlobalIds(),
        files=SubConnectionFiles(),
        switch_account=switch_account,
        fallback=fallback,
    )


class Caller:
    """A client that speaks VMess to an inbound, over memory streams."""

    def __init__(self, inbound: VMessInbound, *, seed: int = 0) -> None:
        accepted, self.transport = memory_pair()
        self.accepted = TrackedTransport(accepted)
        self.connection = ClientConnection(entropy=SeededEntropy(seed), jitter=0)
        self.responses: list[Response] = []
        self._inbound = inbound

    async def served(self) -> None:
        """Let the inbound serve the connection to its end."""
        deadline = trio.current_time() + HANDSHAKE
        await self._inbound.serve(self.accepted, source=SOURCE, deadline=deadline)

    async def ask(self, what: Request) -> RemoteEnd:
        """Send a request; return the stream."""
        await self.transport.send_all(self.connection.send(what))
        body = self.connection.hand_over_early(self.responses.append)
        assert isinstance(body, StreamBody)
        return RemoteEnd(self.transport, opener=body.opener, sealer=body.sealer)


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what the inbound has logged."""
    caplog.set_level(logging.INFO, logger="trio_vmess.inbound.vmess")

    def lines() -> list[str]:
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == "trio_vmess.inbound.vmess"
        ]

    return lines


LogLines = Callable[[], list[str]]


# Known users ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
@pytest.mark.parametrize("security", Security, ids=lambda each: each.word)
async def test_a_valid_request_is_served(
    alter_ids: int, security: Security, autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, alter_ids=alter_ids))
        nursery.start_soon(caller.served)
        options = 0x0D if security.is_aead else 0x01
        stream = await caller.ask(request(account(alter_ids), security=security, options=options))
        await stream.send(b"hello")
        assert await stream.receive_exactly(5) == b"hello"
        assert caller.responses == [Response()]
        await stream.send_eof()
        assert await stream.receive_all() == b""
    assert remote.outbound.flows == [
        Flow(
            destination=Destination(host="example.com", port=443),
            source=SOURCE,
            inbound_tag="in",
            user=User(id=account().user_id, email="love@example.com", level=2),
            is_remote=True,
        )
    ]
    assert caller.accepted.closed
    assert remote.outbound.all_closed
    assert refusals() == []


async def test_a_request_in_single_bytes(autojump_clock: MockClock) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        wire = caller.connection.send(request(account()))
        for number in range(len(wire)):
            await caller.transport.send_all(wire[number : number + 1])
            await trio.testing.wait_all_tasks_blocked()
        assert len(remote.outbound.flows) == 1
        nursery.cancel_scope.cancel()


async def test_payload_that_comes_with_the_request(autojump_clock: MockClock) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        header = caller.connection.send(request(account()))
        body = caller.connection.hand_over_early(caller.responses.append)
        assert isinstance(body, StreamBody)
        stream = RemoteEnd(caller.transport, opener=body.opener, sealer=body.sealer)
        await caller.transport.send_all(header + stream.seal(pattern(50_000)) + stream.seal_end())
        assert await stream.receive_all() == pattern(50_000)


async def test_datagrams(autojump_clock: MockClock) -> None:
    target = Destination(host=parse_host("192.0.2.1"), port=53, network=Network.UDP)
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        header = caller.connection.send(request(account(), command=Command.UDP, destination=target))
        body = caller.connection.hand_over_early(caller.responses.append)
        assert isinstance(body, PacketBody)
        link = BodyPacketLink(
            caller.transport, body, prefix=header, buffer=memoryview(bytearray(4096))
        )
        await link.send([b"question", b"another"])
        assert await link.receive() == [
            b"udp:192.0.2.1:53: question",
            b"udp:192.0.2.1:53: another",
        ]
        await link.aclose()
    (flow,) = remote.outbound.flows
    assert (flow.destination, flow.is_remote) == (target, True)
    assert remote.outbound.all_closed
    assert caller.accepted.closed


@pytest.mark.parametrize("offer", [None, SwitchAccount(port=10086, user_id=USER_ID, minutes=5)])
async def test_the_response_offers_another_account(
    offer: SwitchAccount | None, autojump_clock: MockClock
) -> None:
    asked: list[str] = []

    def switch(email: str) -> SwitchAccount | None:
        asked.append(email)
        return offer

    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, switch_account=switch))
        nursery.start_soon(caller.served)
        stream = await caller.ask(request(account()))
        await stream.send(b"x")
        await stream.receive_exactly(1)
        nursery.cancel_scope.cancel()
    assert asked == ["love@example.com"]
    assert caller.responses == [Response(switch_account=offer)]


async def test_an_exception_while_offering_an_account_closes_the_connection(
    autojump_clock: MockClock,
) -> None:
    def switch(email: str) -> SwitchAccount | None:
        raise RuntimeError("a bug")

    async with open_remote() as remote:
        caller = Caller(make_inbound(remote.dispatch, switch_account=switch))
        await caller.ask(request(account()))
        with pytest.raises(RuntimeError, match="a bug"):
            await caller.served()
    assert caller.accepted.closed


async def test_an_unreachable_destination_closes_the_connection(autojump_clock: MockClock) -> None:
    async with open_remote(failure=DialFailure.REFUSED) as remote:
        caller = Caller(make_inbound(remote.dispatch))
        await caller.ask(request(account()))
        await caller.served()
        assert caller.accepted.closed
        assert await RemoteEnd(caller.transport).receive_all() == b""


async def test_end_to_end_over_loopback() -> None:
    outbound = FreedomOutbound(tag="direct", allow_private=True)
    dispatch = Dispatcher(
        FirstOutbound([outbound]),
        policy_of=lambda _level: Policy(downlink_only=5),
        buffers=SharedBuffers(),
        observers=[AccessLog()],
    )
    accepted, peer = tcp_pair()
    async with start_delayed_reply(0.05) as origin, trio.open_nursery() as nursery:
        inbound = make_inbound(dispatch, clock=lambda: NOW)
        nursery.start_soon(
            lambda: inbound.serve(SocketTransport(accepted), source=SOURCE, deadline=math.inf)
        )
        connection = ClientConnection(entropy=SeededEntropy())
        transport = SocketTransport(peer)
        target = Destination(host=parse_host(origin.host), port=origin.port)
        await transport.send_all(connection.send(request(account(), destination=target)))
        body = connection.hand_over_early(lambda _response: None)
        assert isinstance(body, StreamBody)
        stream = RemoteEnd(transport, opener=body.opener, sealer=body.sealer)
        await stream.send(pattern(100_000))
        await stream.send(pattern(50_000))
        await stream.send_eof()
        assert await stream.receive_all() == pattern(100_000) + pattern(50_000)
    assert accepted.fileno() == -1
    close_sockets()


# Refused clients --------------------------------------------------------------------------------


def request_on_the_wire(what: Request) -> bytes:
    """Return a request as it is on the wire."""
    return ClientConnection(entropy=SeededEntropy(77)).send(what)


def good() -> bytes:
    """Return a request that would be served."""
    return request_on_the_wire(request(account(), timestamp=now()))


def unknown_command() -> bytes:
    """Return a request that is authentic, with a command that does not exist."""
    entropy = SeededEntropy(8)
    plain = bytearray(
        encode_request_header(
            RequestHeader(
                body_iv=entropy.token_bytes(16),
                body_key=entropy.token_bytes(16),
                response_auth=7,
                options=0x0D,
                security=Security.AES_128_GCM,
                command=Command.TCP,
                destination=Destination(host="example.com", port=443),
            ),
            V2RAY,
        )
    )
    plain[37] = 9
    plain[-4:] = fnv1a(bytes(plain[:-4])).to_bytes(4, "big")
    key = account().cmd_key
    auth_id = seal_auth_id(derive_auth_id_key(key), now(), entropy.token_bytes(4))
    return seal_aead_header(bytes(plain), key, auth_id, entropy.token_bytes(8))


TLS_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(194))

REFUSED: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "random": (lambda: SeededEntropy(1).token_bytes(100), "unknown user"),
    "random, much": (lambda: SeededEntropy(2).token_bytes(300_000), "unknown user"),
    "tls": (lambda: TLS_HELLO, "TLS ClientHello"),
    "http": (lambda: b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "an HTTP request"),
    "clock": (
        lambda: request_on_the_wire(request(account(), timestamp=now() + 3600)),
        "wrong time zone",
    ),
    "flipped": (lambda: good()[:-1] + bytes([good()[-1] ^ 1]), "bad header"),
    "command": (unknown_command, "command"),
    "mux as datagrams": (
        lambda: request_on_the_wire(
            request(
                account(),
                command=Command.UDP,
                destination=attrs.evolve(MUX_DESTINATION, port=9, network=Network.UDP),
                timestamp=now(),
            )
        ),
        "command: Mux is a stream",
    ),
    "insecure": (
        lambda: request_on_the_wire(
            request(account(), security=Security.NONE, options=0x05, timestamp=now())
        ),
        "none is not allowed on this inbound",
    ),
    "truncated": (lambda: good()[:50], "no complete request before the handshake deadline"),
    "short": (lambda: good()[:7], "no complete request before the handshake deadline"),
    "nothing": (lambda: b"", "no complete request before the handshake deadline"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_clients_get_no_byte_until_the_deadline(
    name: str, autojump_clock: MockClock, refusals: LogLines
) -> None:
    make, reason = REFUSED[name]
    start = trio.current_time()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch, allow_insecure=False))
        nursery.start_soon(caller.served)
        await caller.transport.send_all(make())

        @nursery.start_soon
        async def go_on_talking() -> None:
            if name not in ("truncated", "short", "nothing"):
                for _ in range(5):
                    await trio.sleep(9)
                    await caller.transport.send_all(bytes(1000))

        assert await RemoteEnd(caller.transport).receive_wire() == b""
        assert trio.current_time() - start == HANDSHAKE
    assert remote.outbound.flows == []
    assert caller.accepted.closed
    lines = refusals()
    assert len(lines) == 1
    assert SOURCE in lines[0]
    assert reason in lines[0]


@pytest.mark.parametrize("alter_ids", [0, 4], ids=["aead", "legacy"])
async def test_a_replayed_request_gets_no_byte(
    alter_ids: int, autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=alter_ids)
        wire = ClientConnection(entropy=SeededEntropy(), jitter=0).send(request(account(alter_ids)))
        for number in range(3):
            caller = Caller(inbound)
            nursery.start_soon(caller.served)
            await caller.transport.send_all(wire)
            await trio.testing.wait_all_tasks_blocked()
            assert len(remote.outbound.flows) == 1
            assert len(refusals()) == number
        assert await RemoteEnd(caller.transport).receive_wire() == b""
        assert trio.current_time() == HANDSHAKE
        nursery.cancel_scope.cancel()
    assert "reason='replay' user=love@example.com" in refusals()[0]


async def test_a_refused_client_that_closes_is_closed_at_once(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote:
        for wire in (b"", bytes(10), SeededEntropy(3).token_bytes(100), good()[:50]):
            caller = Caller(make_inbound(remote.dispatch))
            if wire:
                await caller.transport.send_all(wire)
            await caller.transport.send_eof()
            await caller.served()
            assert trio.current_time() == 0
            assert caller.accepted.closed
            assert await RemoteEnd(caller.transport).receive_all() == b""
    # Whoever has sent nothing was not refused.
    assert [line.split()[2] for line in refusals()] == [
        "reason='truncated'",
        "reason='unknown",
        "reason='truncated'",
    ]


async def test_a_reset_in_the_handshake_closes_the_connection() -> None:
    accepted, peer = tcp_pair()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch)
        nursery.start_soon(
            lambda: inbound.serve(SocketTransport(accepted), source=SOURCE, deadline=math.inf)
        )
        await trio.testing.wait_all_tasks_blocked()
        reset(peer)
    assert accepted.fileno() == -1


async def test_the_handshake_deadline_is_not_extended_by_slow_bytes(
    autojump_clock: MockClock,
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        wire = caller.connection.send(request(account()))
        for number in range(int(HANDSHAKE) // 2):
            await caller.transport.send_all(wire[number : number + 1])
            await trio.sleep(2)
        await trio.testing.wait_all_tasks_blocked()
        assert caller.accepted.closed
    assert remote.outbound.flows == []


async def test_the_handshake_deadline_does_not_limit_the_relay(autojump_clock: MockClock) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        caller = Caller(make_inbound(remote.dispatch))
        nursery.start_soon(caller.served)
        stream = await caller.ask(request(account()))
        await trio.sleep(3 * HANDSHAKE)
        await stream.send(b"x")
        assert await stream.receive_exactly(1) == b"x"
        nursery.cancel_scope.cancel()


# Explanations -----------------------------------------------------------------------------------


async def connect_with_wrong_clock(inbound: VMessInbound, nursery: trio.Nursery, seed: int) -> None:
    """Send a request as a legacy client whose clock is an hour ahead."""
    caller = Caller(inbound, seed=seed)
    nursery.start_soon(caller.served)
    await caller.ask(request(account(4), timestamp=now() + 3600))
    with trio.move_on_after(1):
        await RemoteEnd(caller.transport).receive_wire()


async def test_a_wrong_clock_is_diagnosed_at_a_limited_rate(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=4)
        await connect_with_wrong_clock(inbound, nursery, 1)
        first, why = refusals()
        assert "reason='unknown user' user=-" in first
        assert why.startswith(f"vmess.refused.explained source={SOURCE} reason='clock skew'")
        assert "user love@example.com: the clock is 3600 s ahead of ours" in why
        await connect_with_wrong_clock(inbound, nursery, 2)
        assert len(refusals()) == 3
        await trio.sleep(CLOCK_SEARCH_PAUSE)
        await connect_with_wrong_clock(inbound, nursery, 3)
        assert len(refusals()) == 5
        nursery.cancel_scope.cancel()


async def test_recognised_foreign_protocols_start_no_clock_search(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=4)
        browser = Caller(inbound)
        nursery.start_soon(browser.served)
        await browser.transport.send_all(TLS_HELLO)
        await trio.testing.wait_all_tasks_blocked()
        await connect_with_wrong_clock(inbound, nursery, 1)
        assert "clock is 3600 s ahead" in refusals()[-1]
        nursery.cancel_scope.cancel()


async def test_the_search_for_a_wrong_clock_does_not_delay_the_close(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=4)
        caller = Caller(inbound)
        wire = caller.connection.send(request(account(4), timestamp=now() + 3600))
        await caller.transport.send_eof(wire)
        nursery.start_soon(caller.served)
        # The search takes hundreds of turns of the loop; a close without it takes a few.
        for _ in range(8):
            await trio.lowlevel.checkpoint()
        assert caller.accepted.closed
        assert len(refusals()) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert "clock is 3600 s ahead" in refusals()[1]


async def test_a_reset_during_the_search_for_a_wrong_clock_ends_quietly(
    refusals: LogLines,
) -> None:
    near, far = tcp_pair()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch, alter_ids=4)
        nursery.start_soon(
            lambda: inbound.serve(SocketTransport(near), source=SOURCE, deadline=math.inf)
        )
        far.sendall(SeededEntropy(3).token_bytes(100))
        while not refusals():
            await trio.lowlevel.checkpoint()
        reset(far)
    assert near.fileno() == -1
    assert len(refusals()) == 1


async def test_a_removed_user_is_refused(autojump_clock: MockClock, refusals: LogLines) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_inbound(remote.dispatch)
        first = Caller(inbound, seed=1)
        nursery.start_soon(first.served)
        stream = await first.ask(request(account()))
        await stream.send(b"x")
        assert await stream.receive_exactly(1) == b"x"
        inbound.users.remove(USER_ID)
        second = Caller(inbound, seed=2)
        nursery.start_soon(second.served)
        await second.ask(request(account()))
        await trio.testing.wait_all_tasks_blocked()
        assert len(remote.outbound.flows) == 1
        assert "unknown or removed" in refusals()[0]
        # Connections that were accepted before the removal continue.
        await stream.send(b"y")
        assert await stream.receive_exactly(1) == b"y"
        nursery.cancel_scope.cancel()


# Large tables -----------------------------------------------------------------------------------

SLICE: Final = 2000


async def prepare_slowly(users: UserRegistry) -> None:
    """Build the legacy table, a slice in a tenth of a second."""
    for _ in range(100):
        if users.prepare(now(), budget=SLICE):
            return
        await trio.sleep(0.1)


class CountingRegistry(UserRegistry):
    """A registry that counts the searches in its legacy table."""

    searches = 0

    def find_user_hash(self, user_hash: bytes, *, now: int) -> AuthMatch | NotReady | None:
        self.searches += 1
        return super().find_user_hash(user_hash, now=now)


def make_crowded_inbound(dispatch: Dispatch) -> VMessInbound:
    """Return an inbound with so many legacy ids that no search builds their table."""
    inbound = make_inbound(dispatch)
    users = CountingRegistry([attrs.evolve(account(64), level=2)])
    inbound.users = users
    return inbound


async def test_an_honest_legacy_client_is_served_when_its_second_is_built(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_crowded_inbound(remote.dispatch)
        callers = [Caller(inbound, seed=seed) for seed in range(3)]
        offsets = (0, 25, -110)
        answered: list[float] = []

        async def call(caller: Caller, offset: int) -> None:
            stream = await caller.ask(request(account(64), timestamp=NOW + offset))
            await stream.send(b"hello")
            assert await stream.receive_exactly(5) == b"hello"
            answered.append(trio.current_time())
            await stream.send_eof()
            assert await stream.receive_all() == b""

        for caller, offset in zip(callers, offsets, strict=True):
            nursery.start_soon(caller.served)
            nursery.start_soon(call, caller, offset)
        await trio.testing.wait_all_tasks_blocked()
        assert remote.outbound.flows == []
        nursery.start_soon(prepare_slowly, inbound.users)
    # 15 665 HMACs are eight slices; the nearest seconds come first.
    assert answered == sorted(answered)
    assert answered[0] <= 0.2
    assert answered[1] <= 0.3
    assert answered[2] <= 0.8
    assert refusals() == []


async def test_strangers_cost_a_few_searches_while_the_table_is_built(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_crowded_inbound(remote.dispatch)
        callers = [Caller(inbound) for _ in range(50)]
        for number, caller in enumerate(callers):
            nursery.start_soon(caller.served)
            await caller.transport.send_all(SeededEntropy(number).token_bytes(100))
        await trio.sleep(5)
        users = inbound.users
        assert isinstance(users, CountingRegistry)
        assert users.searches == 50
        assert refusals() == []
        await prepare_slowly(users)
        await trio.testing.wait_all_tasks_blocked()
        # Each was called at most every ten seconds of the table.
        assert users.searches <= 50 * 13
        assert sum("unknown user" in line for line in refusals()) == 50
        assert not any(caller.accepted.closed for caller in callers)
        await trio.sleep_until(HANDSHAKE)
        await trio.testing.wait_all_tasks_blocked()
        assert all(caller.accepted.closed for caller in callers)


async def test_who_hangs_up_while_the_table_is_built_is_let_go(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote:
        inbound = make_crowded_inbound(remote.dispatch)
        for at_once in (True, False):
            caller = Caller(inbound)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller.served)
                if at_once:
                    await caller.transport.send_eof(SeededEntropy(3).token_bytes(100))
                else:
                    await caller.transport.send_all(SeededEntropy(3).token_bytes(100))
                    await trio.testing.wait_all_tasks_blocked()
                    await caller.transport.send_eof()
            assert trio.current_time() == 0
            assert caller.accepted.closed
    assert [line.split()[2] for line in refusals()] == ["reason='truncated'"] * 2


async def test_a_reset_while_the_table_is_built() -> None:
    near, far = tcp_pair()
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_crowded_inbound(remote.dispatch)
        nursery.start_soon(
            lambda: inbound.serve(SocketTransport(near), source=SOURCE, deadline=math.inf)
        )
        far.sendall(SeededEntropy(3).token_bytes(100))
        await trio.testing.wait_all_tasks_blocked(0.01)
        reset(far)
    assert near.fileno() == -1


class WatchedTransport(TrackedTransport):
    """A transport that remembers when how much was read, and what the kernel was asked to hold."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.reads: list[tuple[float, int]] = []
        self.limits: list[int | None] = []
        self.ended: float | None = None

    def limit_receive_buffer(self, size: int | None, /) -> None:
        self.limits.append(size)

    async def receive_into(self, buffer: memoryview, /) -> int:
        size = await super().receive_into(buffer)
        if size:
            self.reads.append((trio.current_time(), size))
        return size

    async def aclose(self) -> None:
        self.ended = self.ended or trio.current_time()
        await super().aclose()


@pytest.mark.parametrize("size", [100, 16_384, 100_000])
@pytest.mark.parametrize("has_fin", [False, True])
async def test_strangers_cannot_tell_a_table_that_is_built_from_one_that_is_not(
    size: int, has_fin: bool, autojump_clock: MockClock
) -> None:
    seen: list[object] = []
    async with open_remote() as remote:
        for builds in (None, 0.1, 0.7, math.inf):
            begin = trio.current_time()
            make = make_inbound if builds is None else make_crowded_inbound
            inbound = make(remote.dispatch)
            caller = Caller(inbound)
            caller.accepted = watched = WatchedTransport(caller.accepted)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller.served)
                # As a slow line would bring it: nothing of it is read together.
                for piece in range(0, size, 1000):
                    await caller.transport.send_all(pattern(size)[piece : piece + 1000])
                    await trio.testing.wait_all_tasks_blocked()
                if has_fin:
                    await caller.transport.send_eof()
                if builds is not None and builds < math.inf:
                    await trio.sleep(builds)
                    assert inbound.users.prepare(now(), budget=1_000_000)
            assert watched.ended is not None
            reads = [(round(at - begin, 3), count) for at, count in watched.reads]
            seen.append((reads, watched.limits, round(watched.ended - begin, 3)))
    assert seen[1:] == seen[:1] * 3


async def test_a_request_that_waits_for_the_table_is_read_slowly_and_then_quickly(
    autojump_clock: MockClock,
) -> None:
    async with open_remote() as remote, trio.open_nursery() as nursery:
        inbound = make_crowded_inbound(remote.dispatch)
        caller = Caller(inbound)
        caller.accepted = watched = WatchedTransport(caller.accepted)
        nursery.start_soon(caller.served)
        stream = await caller.ask(request(account(64)))
        await trio.testing.wait_all_tasks_blocked()
        # A memory stream takes whatever is sent, so what the inbound reads is what counts.
        await stream.send(pattern(200_000))
        await stream.send_eof()
        await trio.sleep(1.1)
        assert sum(count for _, count in watched.reads) < 3 * FREE_SIZE
        assert watched.limits == [RECEIVE_BUFFER_SIZE]
        assert inbound.users.prepare(now(), budget=1_000_000)
        assert await stream.receive_all() == pattern(200_000)
        assert watched.limits == [RECEIVE_BUFFER_SIZE, None]
        assert trio.current_time() == pytest.approx(1.1)


async def test_a_table_that_is_never_built_ends_at_the_deadline(
    autojump_clock: MockClock, refusals: LogLines
) -> None:
    async with open_remote() as remote:
        inbound = make_crowded_inbound(remote.dispatch)
        caller = Caller(inbound)
        await caller.ask(request(account(64)))
        await caller.served()
        assert trio.current_time() == HANDSHAKE
    assert "no complete request before the handshake deadline" in refusals()[0]
    assert not inbound.users._table._waiting


# Cancellation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["friend", "stranger"])
def test_cancellation_at_any_checkpoint_closes_everything(kind: str) -> None:
    def build() -> Scenario:
        callers: list[Caller] = []
        sides: list[ScriptedRemote] = []

        async def run() -> None:
            async with open_remote() as remote, trio.open_nursery() as nursery:
                caller = Caller(make_inbound(remote.dispatch))
                sides.append(remote)
                nursery.start_soon(caller.served)
                if kind == "stranger":
                    await caller.transport.send_all(bytes(100))
                    callers.append(caller)
                    return
                stream = await caller.ask(request(account()))
                callers.append(caller)
                await stream.send(b"x")
                await stream.receive_exactly(1)
                await stream.send_eof()
                await stream.receive_all()

        def check() -> None:
            # A task that never had its first step has not seen its connection.
            assert all(caller.accepted.closed for caller in callers)
            assert all(side.outbound.all_closed for side in sides)
            assert not any(side.dispatch.connections for side in sides)

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 5
