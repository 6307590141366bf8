"""Peeking, and dispatch that peeks: what is found, what is left behind, how long it takes."""

import logging
from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.client_hello import KINDS, build_handshake, handshake_of, make_hello, name_extension
from tests.kit.quic_client import crypto_frame, seal_initial
from tests.kit.remote_ends import (
    RemoteEnd,
    memory_pair,
    plain_side,
    vmess_client_side,
    vmess_server_side,
)
from tests.kit.scripted_remote import EchoLink, TrackedTransport
from trio_vmess import config
from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import NEED_DATA, Destination, Flow, Network, Policy, parse_host
from trio_vmess.core.sniff import Sniffed, SniffingSettings
from trio_vmess.core.vmess import Security
from trio_vmess.dispatch.access_log import AccessLog
from trio_vmess.dispatch.dispatcher import Dispatcher
from trio_vmess.dispatch.first_outbound import FirstOutbound
from trio_vmess.dispatch.sniffing import PEEK_TIME, look, peek, peek_packets
from trio_vmess.errors import DialError, DialFailure, NoRouteError, RemoteProtocolError
from trio_vmess.node.endpoints import sniffing_of
from trio_vmess.relay import SharedBuffers

NAME = "site.example"
HELLO = make_hello(NAME)
FOUND = Sniffed(protocol="tls", domain=NAME)
HEAD = b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n"
ADDRESS = parse_host("192.0.2.1")
FLOW = Flow(
    destination=Destination(host=ADDRESS, port=8443), inbound_tag="in", source="192.0.2.9:5000"
)
DATAGRAMS = attrs.evolve(FLOW, destination=Destination(host=ADDRESS, port=443, network=Network.UDP))
OVERRIDE = SniffingSettings(dest_override=("http", "tls", "quic"))

BUFFER = memoryview(bytearray(1 << 17))


# Peeking at streams -------------------------------------------------------------------------------


async def test_the_protocol_is_recognised_and_the_payload_kept(autojump_clock: MockClock) -> None:
    side, client = plain_side()
    await client.send(HELLO)
    assert await peek(side, buffer=BUFFER) == FOUND
    assert (side.payload, side.early) == (HELLO, b"")
    assert trio.current_time() == 0


@pytest.mark.parametrize("size", [1, 7, 100, 200])
async def test_a_client_hello_in_pieces(size: int, autojump_clock: MockClock) -> None:
    side, client = plain_side()
    side.early, rest = HELLO[:size], HELLO[size:]
    assert look(side) in (NEED_DATA, FOUND)

    async def send() -> None:
        for start in range(0, len(rest), size):
            await client.send(rest[start : start + size])
            await trio.sleep(0.0001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await peek(side, buffer=BUFFER) == FOUND
    assert HELLO.startswith(side.payload)


@pytest.mark.parametrize("security", Security)
async def test_sealed_payload_is_opened(security: Security, autojump_clock: MockClock) -> None:
    side, client = vmess_server_side(security)
    wire = client.seal(HELLO[:60]) + client.seal(HELLO[60:])
    side.early = wire[:50]
    await client.transport.send_all(wire[50:])
    assert await peek(side, buffer=BUFFER) == FOUND
    assert side.payload == HELLO


async def test_a_chunk_longer_than_the_limit(autojump_clock: MockClock) -> None:
    side, client = vmess_server_side()
    payload = HEAD + bytes(15_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, payload)
        assert await peek(side, buffer=BUFFER) == Sniffed(protocol="http1", domain=NAME)
    assert payload.startswith(side.payload)


async def test_a_silent_client_is_given_the_whole_time(autojump_clock: MockClock) -> None:
    side, client = plain_side()
    assert await peek(side, buffer=BUFFER) is None
    assert trio.current_time() == pytest.approx(PEEK_TIME)
    await client.send(b"late")
    assert await side.transport.receive_into(BUFFER) == 4
    assert side.payload == b""


async def test_the_time_limit_covers_all_reads_together(autojump_clock: MockClock) -> None:
    side, client = plain_side()

    async def send() -> None:
        for start in range(20):
            await client.send(HELLO[start : start + 1])
            await trio.sleep(0.03)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await peek(side, buffer=BUFFER) is None
        assert trio.current_time() == pytest.approx(PEEK_TIME)
        nursery.cancel_scope.cancel()
    assert side.payload == HELLO[:7]


async def test_an_unknown_protocol_is_not_waited_for(autojump_clock: MockClock) -> None:
    side, client = plain_side()
    await client.send(b"SSH-2.0-x\r\n")
    assert await peek(side, buffer=BUFFER) is None
    assert side.payload == b"SSH-2.0-x\r\n"
    assert trio.current_time() == 0


async def test_no_more_than_the_size_limit_is_read(autojump_clock: MockClock) -> None:
    side, client = plain_side()
    await client.send(b"GET /" + b"x" * 100)
    assert await peek(side, buffer=BUFFER, limit=100) is None
    assert trio.current_time() == 0
    assert len(side.payload) == 105


@pytest.mark.parametrize("sent", [b"", HELLO[:50]], ids=["nothing", "a part"])
async def test_an_end_is_seen_again(sent: bytes, autojump_clock: MockClock) -> None:
    side, client = plain_side()
    await client.send(sent)
    await client.send_eof()
    assert await peek(side, buffer=BUFFER) is None
    assert side.payload == sent
    assert await side.transport.receive_into(BUFFER) == 0
    assert trio.current_time() == 0


async def test_the_end_of_a_body_is_an_end(autojump_clock: MockClock) -> None:
    side, client = vmess_server_side()
    await client.transport.send_all(client.seal(HELLO[:50]) + client.seal_end())
    assert await peek(side, buffer=BUFFER) is None
    assert side.payload == HELLO[:50]
    assert trio.current_time() == 0


async def test_a_reset_is_raised(autojump_clock: MockClock) -> None:
    side, client = plain_side()
    await client.transport.aclose()
    await side.transport.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await peek(side, buffer=BUFFER)


async def test_a_damaged_chunk_is_raised(autojump_clock: MockClock) -> None:
    side, client = vmess_server_side()
    wire = bytearray(client.seal(HELLO))
    wire[100] ^= 1
    side.early = bytes(wire)
    with pytest.raises(RemoteProtocolError):
        await peek(side, buffer=BUFFER)


# Peeking at datagrams -----------------------------------------------------------------------------


class ClientLink(EchoLink):
    """A client's link: returns batches, each after a pause, then ends or stays idle."""

    def __init__(
        self, *batches: Sequence[bytes] | Exception, pause: float = 0.0, ends: bool = True
    ) -> None:
        super().__init__("client")
        self._left = list(batches)
        self._pause = pause
        self._ends = ends

    async def receive(self) -> Sequence[bytes]:
        await trio.sleep(self._pause)
        if self._left:
            batch = self._left.pop(0)
            if isinstance(batch, Exception):
                raise batch
            return batch
        await trio.sleep(1 if self._ends else 1e6)
        return ()

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        await trio.lowlevel.checkpoint()
        self.batches.append(list(datagrams))
        return 0


LONG_HELLO = build_handshake([(51, bytes(1216)), name_extension(NAME.encode())])
INITIALS = (
    seal_initial(crypto_frame(0, LONG_HELLO[:1000])),
    seal_initial(crypto_frame(1000, LONG_HELLO[1000:]), number=1),
)
INITIAL = seal_initial(crypto_frame(0, handshake_of(make_hello(NAME, KINDS["1.3"]))))
QUIC = Sniffed(protocol="quic", domain=NAME)


@pytest.mark.parametrize(
    ("batches", "found", "seconds"),
    [
        ([[INITIAL]], QUIC, 0),
        ([[INITIAL, b"more"]], QUIC, 0),
        ([[INITIALS[0]], [INITIALS[1]]], QUIC, 0),
        ([[INITIALS[0]]], None, PEEK_TIME),
        ([[INITIALS[0]], [b"x"]], Sniffed(protocol="quic"), 0),
        ([[b"a DNS query"]], None, 0),
        ([], None, PEEK_TIME),
    ],
)
async def test_datagrams_are_examined_and_kept(
    batches: list[list[bytes]], found: Sniffed | None, seconds: float, autojump_clock: MockClock
) -> None:
    peeked = await peek_packets(ClientLink(*batches, ends=False))
    assert peeked.found == found
    assert list(peeked.datagrams) == [each for batch in batches for each in batch]
    assert trio.current_time() == pytest.approx(seconds)


# Dispatch -----------------------------------------------------------------------------------------


@attrs.define(eq=False)
class RecordedAnswer:
    """Records how and when the client was answered."""

    calls: list[tuple[str, float]] = attrs.field(factory=list)

    async def established(self, remote: StreamSide | None, /) -> None:
        self.calls.append(("established", trio.current_time()))

    async def refused(self, reason: DialFailure, /) -> None:
        self.calls.append(("refused", trio.current_time()))


class Outbound:
    """Takes a second to connect, or to fail."""

    tag = "out"

    def __init__(self, failure: Exception | None = None, *, sealed: bool = False) -> None:
        self.failure = failure
        self.flows: list[Flow] = []
        self.side, self.end = vmess_client_side() if sealed else plain_side()
        self.link = EchoLink("remote")

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        await self._reach(flow)
        return Connected(self.tag, self.side)

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        await self._reach(flow)
        return Connected(self.tag, self.link)

    async def _reach(self, flow: Flow) -> None:
        self.flows.append(flow)
        await trio.sleep(1)
        if self.failure is not None:
            raise self.failure


class DispatcherFixture:
    """A dispatcher that sniffs for the inbound `in`, one outbound, and a client."""

    def __init__(
        self, settings: SniffingSettings | None = OVERRIDE, outbound: Outbound | None = None
    ) -> None:
        self.outbound = outbound or Outbound()
        self.dispatcher = Dispatcher(
            FirstOutbound([self.outbound]),
            policy_of=lambda _: Policy(),
            buffers=SharedBuffers(),
            observers=[AccessLog()],
            sniffing_of={"in": settings}.get,
        )
        ours, theirs = memory_pair()
        self.transport = TrackedTransport(ours)
        self.client_side = StreamSide(transport=self.transport)
        self.client = RemoteEnd(theirs)
        self.answer = RecordedAnswer()

    async def stream(self) -> None:
        await self.dispatcher.stream(FLOW, self.client_side, self.answer)


@pytest.mark.parametrize(
    ("settings", "first_bytes", "host", "protocol", "domain"),
    [
        (OVERRIDE, HELLO, NAME, "tls", NAME),
        (OVERRIDE, HEAD, NAME, "http1", NAME),
        (OVERRIDE, make_hello(None), ADDRESS, "tls", ""),
        (OVERRIDE, b"\x13BitTorrent protocol", ADDRESS, "bittorrent", ""),
        (OVERRIDE, b"hello", ADDRESS, "", ""),
        (SniffingSettings(dest_override=("http",)), HELLO, ADDRESS, "tls", ""),
        (attrs.evolve(OVERRIDE, route_only=True), HELLO, ADDRESS, "tls", NAME),
        (None, HELLO, ADDRESS, "", ""),
    ],
)
async def test_the_outbound_is_given_the_sniffed_name(
    settings: SniffingSettings | None,
    first_bytes: bytes,
    host: object,
    protocol: str,
    domain: str,
    autojump_clock: MockClock,
) -> None:
    fixture = DispatcherFixture(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(first_bytes)
        assert await fixture.outbound.end.receive_exactly(len(first_bytes)) == first_bytes
        await fixture.client.send(b"and more")
        assert await fixture.outbound.end.receive() == b"and more"
        (connection,) = fixture.dispatcher.connections
        assert connection.meter.uplink == len(first_bytes) + 8
        await fixture.client.send_eof()
        await fixture.outbound.end.send_eof()
    (flow,) = fixture.outbound.flows
    assert (flow.destination.host, flow.destination.port) == (host, 8443)
    assert (flow.sniffed_protocol, flow.sniffed_domain) == (protocol, domain)
    assert fixture.answer.calls == [("established", 0 if settings else 1)]
    assert fixture.transport.closed


@pytest.mark.parametrize("failure", [DialError("no", reason=DialFailure.REFUSED), NoRouteError("")])
@pytest.mark.parametrize("early", [b"", HEAD])
async def test_a_client_that_was_accepted_is_not_refused_later(
    failure: Exception, early: bytes, autojump_clock: MockClock
) -> None:
    """Nobody is answered before his time whose first bytes came with the request."""
    fixture = DispatcherFixture(outbound=Outbound(failure))
    fixture.client_side.early = early
    await fixture.client.send(b"" if early else HEAD)
    await fixture.stream()
    assert fixture.answer.calls == [("refused", 1) if early else ("established", 0)]
    assert fixture.transport.closed
    assert fixture.outbound.flows[0].destination.host == NAME


async def test_header_and_first_payload_share_a_write(autojump_clock: MockClock) -> None:
    fixture = DispatcherFixture(outbound=Outbound(sealed=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(HELLO)
        assert await fixture.outbound.end.receive() == HELLO
        assert len(fixture.outbound.end.wire_sizes) == 1
        nursery.cancel_scope.cancel()


async def test_a_server_may_speak_first(autojump_clock: MockClock) -> None:
    fixture = DispatcherFixture()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.outbound.end.send(b"220 welcome")
        assert await fixture.client.receive() == b"220 welcome"
        assert trio.current_time() == pytest.approx(1 + PEEK_TIME)
        await fixture.client.send(b"EHLO\r\n")
        assert await fixture.outbound.end.receive() == b"EHLO\r\n"
        nursery.cancel_scope.cancel()
    assert fixture.answer.calls == [("established", 0)]


@pytest.mark.parametrize("payload", [b"", HELLO[:50], HELLO], ids=["nothing", "a part", "all"])
async def test_a_client_that_has_ended_its_request(
    payload: bytes, autojump_clock: MockClock
) -> None:
    fixture = DispatcherFixture(outbound=Outbound(sealed=True))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.stream)
        await fixture.client.send(payload)
        await fixture.client.send_eof()
        assert await fixture.outbound.end.receive_all() == payload
        await fixture.outbound.end.send(b"answer")
        await fixture.outbound.end.send_eof()
        assert await fixture.client.receive_all() == b"answer"


@pytest.mark.parametrize("payload", [b"", HELLO[:50], HELLO], ids=["nothing", "a part", "all"])
async def test_a_body_that_ends_while_it_is_sniffed(
    payload: bytes, autojump_clock: MockClock
) -> None:
    side, client = vmess_server_side()
    fixture = DispatcherFixture()
    await client.transport.send_all((client.seal(payload) if payload else b"") + client.seal_end())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.dispatcher.stream, FLOW, side, fixture.answer)
        assert await fixture.outbound.end.receive_all() == payload
        await fixture.outbound.end.send(b"answer")
        await fixture.outbound.end.send_eof()
        assert await client.receive_all() == b"answer"
    assert trio.current_time() < 2


async def test_a_client_that_resets_while_it_is_sniffed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess")
    fixture = DispatcherFixture()

    async def reset(buffer: memoryview, /) -> int:
        raise trio.BrokenResourceError("reset")

    fixture.transport.receive_into = reset  # type: ignore[method-assign]
    await fixture.stream()
    assert not fixture.outbound.flows
    assert fixture.transport.closed
    assert caplog.messages[-1].endswith("reason='reset by client'")


async def test_a_client_that_breaks_the_protocol(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess")
    side, client = vmess_server_side()
    wire = bytearray(client.seal(HELLO))
    wire[100] ^= 1
    await client.transport.send_all(bytes(wire))
    fixture = DispatcherFixture()
    await fixture.dispatcher.stream(FLOW, side, fixture.answer)
    assert not fixture.outbound.flows
    assert caplog.messages[-1].endswith("reason='client broke the protocol'")


async def test_the_log_shows_the_sniffed_name(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess.access")
    fixture = DispatcherFixture(SniffingSettings(dest_override=("tls",), route_only=True))
    await fixture.client.send(HELLO)
    await fixture.client.send_eof()
    await fixture.outbound.end.send_eof()
    await fixture.stream()
    assert (
        "destination=tcp:192.0.2.1:8443 sniffed=tls:site.example outbound=out" in caplog.messages[0]
    )


# Dispatch of datagrams ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "host", "protocol"),
    [
        ([[INITIAL], [b"later"]], NAME, "quic"),
        ([[INITIALS[0]], [INITIALS[1], b"later"]], NAME, "quic"),
        ([[b"query"], [b"later"]], ADDRESS, ""),
    ],
)
async def test_datagrams_are_relayed_in_order(
    batches: list[list[bytes]], host: object, protocol: str, autojump_clock: MockClock
) -> None:
    fixture = DispatcherFixture()
    link = ClientLink(*batches)
    await fixture.dispatcher.packets(DATAGRAMS, link)
    (flow,) = fixture.outbound.flows
    assert (flow.destination.host, flow.destination.network) == (host, Network.UDP)
    assert flow.sniffed_protocol == protocol
    sent = [each for batch in fixture.outbound.link.batches for each in batch]
    assert sent == [each for batch in batches for each in batch]
    assert link.closed
    assert fixture.outbound.link.closed


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (trio.BrokenResourceError("reset"), "'reset by client'"),
        (RemoteProtocolError("bad"), "'client broke the protocol'"),
    ],
)
async def test_a_link_that_fails_while_it_is_sniffed(
    failure: Exception,
    reason: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="trio_vmess")
    fixture = DispatcherFixture()
    link = ClientLink([INITIALS[0]], failure)
    await fixture.dispatcher.packets(DATAGRAMS, link)
    assert not fixture.outbound.flows
    assert link.closed
    assert caplog.messages[-1].endswith(f"reason={reason}")


# Cancellation and settings ------------------------------------------------------------------------


def test_cancellation_at_any_step_closes_everything() -> None:
    def build() -> Scenario:
        fixture = DispatcherFixture()

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fixture.stream)
                await fixture.client.send(HELLO[:100])
                await trio.sleep(0.01)
                await fixture.client.send(HELLO[100:])
                await fixture.outbound.end.receive_exactly(len(HELLO))
                await fixture.client.send_eof()
                await fixture.outbound.end.send_eof()

        def check() -> None:
            # Before the first step, dispatch may not know the connection yet.
            if fixture.answer.calls:
                assert fixture.transport.closed
                assert not fixture.dispatcher.connections

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build) > 10


def test_each_inbound_has_its_own_sniffing_settings() -> None:
    def inbound(tag: str, sniffing: SniffingSettings | None) -> config.InboundSettings:
        return config.InboundSettings(
            tag=tag,
            protocol=config.SocksInboundSettings(),
            port=config.PortRange(0, 0),
            sniffing=sniffing,
        )

    settings_of = sniffing_of(
        [
            inbound("quiet", None),
            inbound("loud", SniffingSettings(dest_override=("tls",), route_only=True)),
            inbound("", None),
            inbound("", SniffingSettings(dest_override=("http",))),
            inbound("", SniffingSettings()),
        ]
    )
    assert settings_of("quiet") is None
    assert settings_of("unknown") is None
    assert settings_of("loud") == SniffingSettings(dest_override=("tls",), route_only=True)
    assert settings_of("") == SniffingSettings(dest_override=("http",))
