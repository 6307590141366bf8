"""A side as a plain transport: payload goes in and comes out, the codecs are at work below."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.remote_ends import (
    RemoteEnd,
    memory_pair,
    plain_side,
    vmess_client_side,
    vmess_server_side,
)
from tests.kit.scripted_remote import TrackedTransport
from trio_vmess.contracts import StreamSide, Transport
from trio_vmess.core import Destination
from trio_vmess.core.vmess import Security
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.transport import SideTransport, StreamTransport

LOCAL = Destination(host="localhost", port=1)
REMOTE = Destination(host="example.com", port=2)
FLUSH_AFTER = 0.1


async def receive(transport: Transport, size: int = 64 * 1024) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await transport.receive_into(buffer)])


async def receive_all(transport: Transport, size: int = 64 * 1024) -> list[bytes]:
    pieces = []
    while piece := await receive(transport, size):
        pieces.append(piece)
    return pieces


def client(security: Security = Security.AES_128_GCM) -> tuple[SideTransport, RemoteEnd]:
    side, server = vmess_client_side(security, flush_after=FLUSH_AFTER)
    return SideTransport(side), server


# Both directions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("security", Security)
async def test_payload_and_ends_pass_in_both_directions(security: Security) -> None:
    transport, server = client(security)
    await transport.send_all(b"hello")
    await transport.send_all(bytearray(b", world"))
    await transport.send_eof(b"!")
    assert await server.receive_all() == b"hello, world!"
    await server.send(b"good")
    await server.send(b" bye")
    await server.send_eof()
    assert b"".join(await receive_all(transport)) == b"good bye"
    assert await receive(transport) == b""
    await transport.aclose()


async def test_without_codecs_bytes_pass_as_they_are() -> None:
    side, peer = plain_side()
    transport = SideTransport(side)
    await transport.send_all(b"hello")
    await transport.send_eof(b"!")
    assert await peer.receive_all() == b"hello!"
    await peer.send(b"good bye")
    await peer.send_eof()
    assert await receive_all(transport) == [b"good bye"]
    await transport.aclose()


async def test_a_transport_passes_addresses_on() -> None:
    side, _ = plain_side()
    assert SideTransport(side).local is None
    assert SideTransport(side).remote is None
    side.transport = tracked = TrackedTransport(side.transport, local=LOCAL)
    tracked.remote = REMOTE
    assert SideTransport(side).local == LOCAL
    assert SideTransport(side).remote == REMOTE


# Receiving ----------------------------------------------------------------------------------------


async def test_every_split_of_the_wire_gives_the_same_payload() -> None:
    _, server = vmess_client_side()
    wire = server.seal(b"first") + server.seal(b"second") + server.seal_end()
    for cut in range(len(wire) + 1):
        side, _ = vmess_client_side(flush_after=None)
        ours, theirs = trio.testing.memory_stream_pair()
        side.transport = StreamTransport(ours)
        transport = SideTransport(side)
        async with trio.open_nursery() as nursery:
            received: list[bytes] = []

            async def collect(into: list[bytes], source: SideTransport) -> None:
                into += await receive_all(source)

            nursery.start_soon(collect, received, transport)
            await theirs.send_all(wire[:cut])
            await trio.testing.wait_all_tasks_blocked()
            await theirs.send_all(wire[cut:])
        assert b"".join(received) == b"firstsecond"


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_a_small_buffer_gets_all_of_it_in_turns(size: int) -> None:
    transport, server = client()
    payload = bytes(range(256)) * 10
    await transport.send_all(b"x")
    await server.send(payload)
    await server.send_eof()
    pieces = await receive_all(transport, size)
    assert b"".join(pieces) == payload
    assert max(map(len, pieces)) == size


@pytest.mark.parametrize("has_codecs", [False, True])
async def test_early_data_and_payload_come_first(has_codecs: bool) -> None:
    side, peer = vmess_server_side() if has_codecs else plain_side()
    side.payload = b"opened, "
    side.early = peer.seal(b"early, ")
    transport = SideTransport(side)
    await peer.send(b"late")
    await peer.send_eof()
    assert b"".join(await receive_all(transport, 3)) == b"opened, early, late"
    assert (side.payload, side.early) == (b"", b"")


async def test_bytes_after_the_end_of_the_body_are_ignored() -> None:
    side, peer = vmess_server_side()
    transport = SideTransport(side)
    await peer.transport.send_all(peer.seal(b"all") + peer.seal_end() + b"noise")
    assert await receive_all(transport) == [b"all"]


async def test_an_end_without_a_terminator_is_an_end() -> None:
    side, peer = vmess_server_side()
    transport = SideTransport(side)
    await peer.transport.send_eof(peer.seal(b"all"))
    assert await receive_all(transport) == [b"all"]
    assert await receive(transport) == b""


async def test_a_truncated_body_is_an_error_on_every_receive() -> None:
    side, peer = vmess_server_side()
    transport = SideTransport(side)
    await peer.transport.send_eof(peer.seal(b"whole") + peer.seal(b"cut")[:-1])
    assert await receive(transport) == b"whole"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="cut off"):
            await receive(transport)


async def test_a_damaged_body_is_an_error_on_every_receive() -> None:
    side, peer = vmess_server_side()
    transport = SideTransport(side)
    damaged = bytearray(peer.seal(b"payload"))
    damaged[-1] ^= 1
    damaged[10] ^= 1
    await peer.transport.send_all(damaged + peer.seal(b"more"))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await receive(transport)


async def test_a_reset_connection_is_a_broken_resource() -> None:
    transport, server = client()
    await server.transport.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await transport.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="an earlier send was interrupted"):
        await transport.send_all(b"x")


# The header that waits ----------------------------------------------------------------------------


class RecordingTransport(StreamTransport):
    """Notes the size of each write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.sent: list[int] = []

    async def send_all(self, data: bytes | bytearray | memoryview, /) -> None:
        self.sent.append(len(data))
        await super().send_all(data)


def recording() -> tuple[SideTransport, RemoteEnd, Sequence[int]]:
    """Return a client's transport, the server, and the sizes of the client's writes."""
    side, server = vmess_client_side(flush_after=FLUSH_AFTER)
    ours, theirs = trio.testing.memory_stream_pair()
    recorder = RecordingTransport(ours)
    side.transport, server.transport = recorder, StreamTransport(theirs)
    return SideTransport(side), server, recorder.sent


async def test_the_header_goes_out_with_the_first_payload(autojump_clock: MockClock) -> None:
    transport, server, sent = recording()
    assert transport.is_header_due
    await transport.send_all(b"hello")
    assert not transport.is_header_due
    assert len(sent) == 1
    assert await server.receive() == b"hello"


async def test_a_payload_in_time_takes_the_header_along(autojump_clock: MockClock) -> None:
    transport, server, sent = recording()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport)
        await trio.sleep(FLUSH_AFTER / 2)
        assert not sent
        await transport.send_all(b"hello")
        assert len(sent) == 1
        assert await server.receive() == b"hello"
        await server.send(b"x")


async def test_the_header_goes_out_alone_when_the_program_only_receives(
    autojump_clock: MockClock,
) -> None:
    transport, server, sent = recording()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport)
        await server.receive_wire()
        assert trio.current_time() - began == pytest.approx(FLUSH_AFTER)
        assert len(sent) == 1
        await server.send(b"220 ready")


async def test_a_header_may_wait_for_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    side, peer = vmess_server_side()
    transport = SideTransport(side)
    assert not transport.is_header_due
    await peer.send(b"hello")
    assert await receive(transport) == b"hello"
    await transport.send_eof()
    assert await peer.receive_all() == b""


async def test_a_payload_behind_the_lone_header_keeps_its_place(autojump_clock: MockClock) -> None:
    """Both tasks are in the midst of sending: the header's bytes come first, and whole."""
    side, server = vmess_client_side(flush_after=FLUSH_AFTER)
    ours, theirs = trio.testing.lockstep_stream_pair()
    side.transport, server.transport = StreamTransport(ours), StreamTransport(theirs)
    transport = SideTransport(side)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, transport)
        await trio.sleep(2 * FLUSH_AFTER)
        payload = bytearray(b"hello")
        nursery.start_soon(transport.send_all, payload)
        await trio.testing.wait_all_tasks_blocked()
        payload[:] = b"-----"  # the buffer may be another connection's by now
        assert await server.receive_exactly(5) == b"hello"
        nursery.cancel_scope.cancel()


# Cancelling and closing ---------------------------------------------------------------------------


async def test_after_a_cancelled_send_nothing_can_be_sent(autojump_clock: MockClock) -> None:
    side, server = vmess_client_side(flush_after=FLUSH_AFTER)
    ours, theirs = trio.testing.lockstep_stream_pair()
    side.transport, server.transport = StreamTransport(ours), StreamTransport(theirs)
    transport = SideTransport(side)
    with trio.move_on_after(1) as scope:
        await transport.send_all(b"hello")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError, match="an earlier send was interrupted"):
        await transport.send_all(b"world")
    with pytest.raises(trio.BrokenResourceError, match="an earlier send was interrupted"):
        await transport.send_eof()


async def test_a_cancelled_receive_loses_nothing(autojump_clock: MockClock) -> None:
    transport, server = client()
    await transport.send_all(b"x")
    wire = server.seal(b"hello")
    for piece in (wire[:20], wire[20:]):
        with trio.move_on_after(1) as scope:
            await receive(transport)
        assert scope.cancelled_caught
        await server.transport.send_all(piece)
    assert await receive(transport) == b"hello"


async def test_closing_closes_the_transport_below_and_tells_nothing() -> None:
    transport, server = client()
    await transport.send_all(b"hello")
    assert await server.receive() == b"hello"
    await transport.aclose()
    assert await server.receive_wire() == b""
    with pytest.raises(trio.ClosedResourceError):
        await receive(transport)
    await transport.aclose()


def test_a_transport_that_is_cancelled_anywhere_ends_closed() -> None:
    def build() -> Scenario:
        tracked: list[TrackedTransport] = []

        async def run() -> None:
            side, server = vmess_client_side(make=memory_pair, flush_after=FLUSH_AFTER)
            side.transport = TrackedTransport(side.transport)
            tracked.append(side.transport)
            transport = SideTransport(side)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive, transport)
                    await trio.sleep(2 * FLUSH_AFTER)
                    await transport.send_all(b"hello")
                    assert await server.receive_exactly(5) == b"hello"
                    await server.send(b"answer")
                await transport.send_eof()
            finally:
                await transport.aclose()

        return Scenario(run=run, check=lambda: _assert_closed(tracked))

    assert sweep_cancellations(build) > 5


def _assert_closed(tracked: Sequence[TrackedTransport]) -> None:
    assert all(each.closed for each in tracked)


def test_a_side_transport_is_a_transport() -> None:
    side, _ = plain_side()
    transport: Transport = SideTransport(side)
    nested = SideTransport(StreamSide(transport=transport))
    assert nested.local is None
