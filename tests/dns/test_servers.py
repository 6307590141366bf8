"""Queries to name servers on loopback, over each transport."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import dns.rcode
import h11
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.name_server import NameServer, addresses, start_name_server
from tests.kit.nodes import start_chain_node, start_server_node, vmess_outbound
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from trio_vmess.config import PolicySettings
from trio_vmess.contracts import Outbound, PacketLink, Transport
from trio_vmess.core import Destination, Flow
from trio_vmess.core.vmess import ReplayCache
from trio_vmess.dns import (
    Answer,
    DatagramServer,
    HttpsServer,
    Query,
    StreamServer,
    SystemServer,
    has_https,
)
from trio_vmess.dns.servers import RESEND_AFTER
from trio_vmess.errors import DialError, DialFailure, NoRouteError
from trio_vmess.node.dns import FlowDialer
from trio_vmess.node.endpoints import Assembler
from trio_vmess.node.layers import LayerBuilder
from trio_vmess.outbound import FreedomOutbound
from trio_vmess.relay import SharedBuffers
from trio_vmess.transport import StreamTransport, resolve

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
A = Query("www.example", socket.AF_INET)
AAAA = Query("www.example", socket.AF_INET6)
ZONE = {("www.example", "A"): ["192.0.2.1"], ("www.example", "AAAA"): ["2001:db8::1"]}
FOUND = Answer(addresses=tuple(addresses("192.0.2.1")), ttl=300)


async def straight(_flow: Flow) -> Outbound:
    return FreedomOutbound(tag="")


DIALER = FlowDialer(straight)


def datagram_server(server: NameServer) -> DatagramServer:
    return DatagramServer(LOOPBACK, server.port, dialer=DIALER)


def stream_server(server: NameServer) -> StreamServer:
    return StreamServer(LOOPBACK, server.port, dialer=DIALER)


# The system ---------------------------------------------------------------------------------------


async def test_answers_of_the_system_have_a_ttl_of_0() -> None:
    asked = []

    async def resolve(
        name: str, family: socket.AddressFamily
    ) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        asked.append((name, family))
        return addresses("192.0.2.1")

    server = SystemServer(resolve)
    assert await server.ask(A) == Answer(addresses=FOUND.addresses, ttl=0)
    assert asked == [("www.example", socket.AF_INET)]
    assert str(server) == "localhost"


# UDP and TCP --------------------------------------------------------------------------------------


async def test_a_query_by_udp() -> None:
    async with start_name_server(ZONE) as server:
        assert await datagram_server(server).ask(A) == FOUND
        assert (await datagram_server(server).ask(AAAA)).addresses == tuple(
            addresses("2001:db8::1")
        )
        assert server.asked == [("www.example", "A", "udp"), ("www.example", "AAAA", "udp")]


async def test_a_query_by_tcp() -> None:
    async with start_name_server(ZONE) as server:
        assert await stream_server(server).ask(A) == FOUND
        assert server.asked == [("www.example", "A", "tcp")]


class LossyLink:
    """A link to a name server on which the first datagram is lost; also its own dialer."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []
        self.is_closed = False
        self._zone = NameServer(port=0, zone=ZONE)
        self._send, self._receive = trio.open_memory_channel[bytes](1)

    async def packets(self, destination: Destination, /) -> PacketLink:
        return self

    async def stream(self, destination: Destination, /) -> Transport:
        raise NotImplementedError

    async def send(self, datagrams: Sequence[bytes], /) -> int:
        self.sent_at.append(trio.current_time())
        (query,) = datagrams
        if len(self.sent_at) > 1:
            await self._send.send(self._zone.answer(query, "udp").to_wire())
        return 0

    async def receive(self) -> Sequence[bytes]:
        return [await self._receive.receive()]

    async def aclose(self) -> None:
        self.is_closed = True


async def test_a_lost_datagram_is_sent_again(autojump_clock: trio.testing.MockClock) -> None:
    link = LossyLink()
    assert await DatagramServer(LOOPBACK, 53, dialer=link).ask(A) == FOUND
    first, second = link.sent_at
    assert second - first == RESEND_AFTER
    assert link.is_closed


async def test_forged_replies_are_ignored() -> None:
    async with start_name_server(ZONE) as server:
        server.forges = True
        assert await datagram_server(server).ask(A) == FOUND


async def test_a_truncated_reply_leads_to_a_query_by_tcp() -> None:
    async with start_name_server(ZONE) as server:
        server.truncates = True
        assert await datagram_server(server).ask(A) == FOUND
        assert [each[2] for each in server.asked] == ["udp", "tcp"]


async def test_a_name_that_does_not_exist_has_no_addresses() -> None:
    async with start_name_server(ZONE) as server:
        question = Query("other.example", socket.AF_INET)
        for ask in (datagram_server(server).ask, stream_server(server).ask):
            assert (await ask(question)).addresses == ()


async def test_an_error_reply_is_a_dial_error() -> None:
    async with start_name_server(ZONE) as server:
        server.rcode = dns.rcode.SERVFAIL
        for ask in (datagram_server(server).ask, stream_server(server).ask):
            with pytest.raises(DialError, match="the server answered SERVFAIL"):
                await ask(A)


async def test_a_connection_that_ends_without_a_reply_is_a_dial_error() -> None:
    async with start_name_server(ZONE) as server:
        server.is_silent = True
        with pytest.raises(DialError, match="ended without an answer"):
            await stream_server(server).ask(A)


async def test_an_unreachable_server_is_a_dial_error() -> None:
    with pytest.raises(DialError):
        await StreamServer(LOOPBACK, free_port(), dialer=DIALER).ask(A)


async def test_a_query_without_a_route_is_a_dial_error() -> None:
    async def nowhere(_flow: Flow) -> Outbound:
        raise NoRouteError("there is no outbound")

    dialer = FlowDialer(nowhere)
    for server in (
        DatagramServer(LOOPBACK, 53, dialer=dialer),
        StreamServer(LOOPBACK, 53, dialer=dialer),
    ):
        with pytest.raises(DialError, match="no outbound") as caught:
            await server.ask(A)
        assert caught.value.reason is DialFailure.FORBIDDEN


async def test_servers_are_told_the_clients_subnet() -> None:
    async with start_name_server(ZONE) as server:
        (client,) = addresses("192.0.2.77")
        for kind in (DatagramServer, StreamServer):
            await kind(LOOPBACK, server.port, dialer=DIALER, client_ip=client).ask(A)
        assert server.subnets == ["192.0.2.0/24"] * 2


async def test_queries_are_flows_with_the_tag_of_the_dns_object() -> None:
    flows = []

    async def choose(flow: Flow) -> Outbound:
        flows.append(flow)
        return FreedomOutbound(tag="")

    async with start_name_server(ZONE) as server:
        await DatagramServer(LOOPBACK, server.port, dialer=FlowDialer(choose, tag="dns")).ask(A)
    (flow,) = flows
    assert str(flow.destination) == f"udp:127.0.0.1:{server.port}"
    assert flow.inbound_tag == "dns"
    assert not flow.is_remote


async def test_queries_go_through_a_chain_of_proxies() -> None:
    """By UDP and by TCP: the outbound's codecs are in use."""
    async with (
        start_name_server(ZONE) as server,
        start_server_node() as last,
        start_chain_node(ServerSpec(), ClientSpec(server_port=last.port)) as first,
    ):
        assembler = Assembler(
            layers=LayerBuilder(),
            buffers=SharedBuffers(),
            policy_of=PolicySettings().level,
            replay=ReplayCache(window=120),
            resolve=resolve,
            resolve_as_system=lambda _flow: resolve,
            resolve_for=lambda _flow: resolve,
        )
        proxy = assembler.outbound(vmess_outbound(ClientSpec(server_port=first.port)))

        async def through(_flow: Flow) -> Outbound:
            return proxy

        dialer = FlowDialer(through)
        assert await DatagramServer(LOOPBACK, server.port, dialer=dialer).ask(A) == FOUND
        assert await StreamServer(LOOPBACK, server.port, dialer=dialer).ask(A) == FOUND
        assert [each[2] for each in server.asked] == ["udp", "tcp"]


# Messages over a stream ---------------------------------------------------------------------------


class MemoryDialer:
    """Connects to a script over memory streams, by a stream only."""

    def __init__(self, nursery: trio.Nursery, reply: Callable[[bytes], Sequence[bytes]]) -> None:
        self._nursery = nursery
        self._reply = reply

    async def packets(self, destination: Destination, /) -> PacketLink:
        raise NotImplementedError

    async def stream(self, destination: Destination, /) -> Transport:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return StreamTransport(ours)

    async def _serve(self, stream: trio.abc.HalfCloseableStream) -> None:
        async with stream:
            query = bytes(await stream.receive_some())
            assert int.from_bytes(query[:2], "big") == len(query) - 2
            for piece in self._reply(query[2:]):
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()


async def ask_over_memory(reply: Callable[[bytes], Sequence[bytes]]) -> Answer:
    outcome: Answer | DialError
    async with trio.open_nursery() as nursery:
        try:
            server = StreamServer(LOOPBACK, 53, dialer=MemoryDialer(nursery, reply))
            outcome = await server.ask(A)
        except DialError as exc:
            outcome = exc
    if isinstance(outcome, DialError):
        raise outcome
    return outcome


async def test_a_reply_may_come_in_pieces_of_any_size() -> None:
    zone = NameServer(port=0, zone=ZONE)
    for cut in range(30):

        def reply(query: bytes, cut: int = cut) -> Sequence[bytes]:
            data = zone.answer(query, "tcp").to_wire()
            framed = len(data).to_bytes(2, "big") + data
            return [framed[:cut], framed[cut:] + b"noise"]

        assert await ask_over_memory(reply) == FOUND


@pytest.mark.parametrize("reply", [b"", b"\0", b"\0\0", b"\0\5", b"\0\5abcd", b"\0\5abcde"])
async def test_an_incomplete_or_foreign_reply_is_a_dial_error(reply: bytes) -> None:
    with pytest.raises(DialError, match="ended without an answer"):
        await ask_over_memory(lambda _query: [reply])


def test_servers_print_as_urls() -> None:
    assert str(DatagramServer(LOOPBACK, 53, dialer=DIALER)) == "udp://127.0.0.1:53"
    v6 = ipaddress.ip_address("2001:db8::1")
    assert str(StreamServer(v6, 53, dialer=DIALER)) == "tcp://[2001:db8::1]:53"


# HTTPS --------------------------------------------------------------------------------------------


class Certificate:
    """A certificate of its own authority, for `dns.test` and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dns.test")])
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.DNSName("dns.test"), x509.IPAddress(LOOPBACK)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._file = folder / "certificate.pem"
        self._file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._file)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._file))


@asynccontextmanager
async def start_https(
    certificate: Certificate, zone: NameServer, *, status: int = 200
) -> AsyncIterator[int]:
    """Serve RFC 8484 with HTTP/1.1, and give the port."""

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        connection, body = h11.Connection(h11.SERVER), b""
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(4096))
                elif isinstance(event, h11.Request):
                    assert (event.method, event.target) == (b"POST", b"/dns-query")
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
            data = zone.answer(bytes(body), "https").to_wire()
            headers = [
                ("content-type", "application/dns-message"),
                ("content-length", str(len(data))),
            ]
            for part in (
                h11.Response(status_code=status, headers=[*headers, ("connection", "close")]),
                h11.Data(data=data),
                h11.EndOfMessage(),
            ):
                await stream.send_all(connection.send(part) or b"")
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return

    (listener,) = await trio.open_ssl_over_tcp_listeners(0, certificate.server(), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield listener.transport_listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def on_loopback(
    name: str, _family: socket.AddressFamily
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    assert name == "dns.test"
    return [LOOPBACK]


needs_https = pytest.mark.skipif(not has_https(), reason="dnspython's extra for HTTPS is not there")


@needs_https
@pytest.mark.parametrize("host", ["127.0.0.1", "dns.test"])
async def test_a_query_by_https(host: str, tmp_path: Path) -> None:
    certificate, zone = Certificate(tmp_path), NameServer(port=0, zone=ZONE)
    async with start_https(certificate, zone) as port:
        server = HttpsServer(
            f"https://{host}:{port}/dns-query", resolve=on_loopback, tls=certificate.client()
        )
        assert await server.ask(A) == FOUND
        assert (await server.ask(AAAA)).addresses == tuple(addresses("2001:db8::1"))
    assert zone.asked == [("www.example", "A", "https"), ("www.example", "AAAA", "https")]


@needs_https
async def test_an_http_error_and_an_error_reply_are_dial_errors(tmp_path: Path) -> None:
    certificate, zone = Certificate(tmp_path), NameServer(port=0, zone=ZONE)
    async with start_https(certificate, zone, status=500) as port:
        url = f"https://127.0.0.1:{port}/dns-query"
        server = HttpsServer(url, resolve=on_loopback, tls=certificate.client())
        with pytest.raises(DialError, match="500"):
            await server.ask(A)
        zone.rcode = dns.rcode.REFUSED
        with pytest.raises(DialError):
            await server.ask(A)


@needs_https
async def test_an_untrusted_certificate_is_a_dial_error(tmp_path: Path) -> None:
    certificate, zone = Certificate(tmp_path), NameServer(port=0, zone=ZONE)
    async with start_https(certificate, zone) as port:
        server = HttpsServer(f"https://127.0.0.1:{port}/dns-query", resolve=on_loopback)
        with pytest.raises(DialError, match=r"(?i)certificate"):
            await server.ask(A)
    assert zone.asked == []


@needs_https
async def test_an_unreachable_https_server_is_a_dial_error() -> None:
    server = HttpsServer(f"https://127.0.0.1:{free_port()}/dns-query", resolve=on_loopback)
    with pytest.raises(DialError):
        await server.ask(A)
