"""Asking name servers on loopback, by each way there is."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.rcode
import h11
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.name_server import NameServer, addresses, start_name_server
from tests.kit.nodes import start_chain_node, start_server_node, vmess_outbound
from tests.kit.peer_specs import ClientSpec, ServerSpec
from tests.kit.ports import free_port
from trio_vmess.config import PolicySettings
from trio_vmess.contracts import Outbound
from trio_vmess.core import Flow
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
from trio_vmess.outbound import FreedomOutbound
from trio_vmess.relay import SharedBuffers

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
A = Query("www.example", socket.AF_INET)
AAAA = Query("www.example", socket.AF_INET6)
ZONE = {("www.example", "A"): ["192.0.2.1"], ("www.example", "AAAA"): ["2001:db8::1"]}
FOUND = Answer(addresses=tuple(addresses("192.0.2.1")), ttl=300)


async def straight(_flow: Flow) -> Outbound:
    return FreedomOutbound(tag="")


DIALER = FlowDialer(straight)


def by_datagram(server: NameServer) -> DatagramServer:
    return DatagramServer(LOOPBACK, server.port, dialer=DIALER)


def by_stream(server: NameServer) -> StreamServer:
    return StreamServer(LOOPBACK, server.port, dialer=DIALER)


# The system ---------------------------------------------------------------------------------------


async def test_the_systems_answers_are_not_remembered() -> None:
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


async def test_by_udp() -> None:
    async with start_name_server(ZONE) as server:
        assert await by_datagram(server).ask(A) == FOUND
        assert (await by_datagram(server).ask(AAAA)).addresses == tuple(addresses("2001:db8::1"))
        assert server.asked == [("www.example", "A", "udp"), ("www.example", "AAAA", "udp")]


async def test_by_tcp() -> None:
    async with start_name_server(ZONE) as server:
        assert await by_stream(server).ask(A) == FOUND
        assert server.asked == [("www.example", "A", "tcp")]


async def test_a_lost_datagram_is_sent_once_more() -> None:
    async with start_name_server(ZONE) as server:
        server.lost = 1
        began = trio.current_time()
        assert await by_datagram(server).ask(A) == FOUND
        assert trio.current_time() - began >= RESEND_AFTER
        assert server.count("www.example") == 2


async def test_forged_answers_are_not_believed() -> None:
    async with start_name_server(ZONE) as server:
        server.forges = True
        assert await by_datagram(server).ask(A) == FOUND


async def test_what_has_no_room_in_a_datagram_is_asked_for_by_tcp() -> None:
    async with start_name_server(ZONE) as server:
        server.truncates = True
        assert await by_datagram(server).ask(A) == FOUND
        assert [each[2] for each in server.asked] == ["udp", "tcp"]


async def test_a_name_that_does_not_exist() -> None:
    async with start_name_server(ZONE) as server:
        question = Query("other.example", socket.AF_INET)
        for ask in (by_datagram(server).ask, by_stream(server).ask):
            assert (await ask(question)).addresses == ()


async def test_a_server_that_fails() -> None:
    async with start_name_server(ZONE) as server:
        server.rcode = dns.rcode.SERVFAIL
        for ask in (by_datagram(server).ask, by_stream(server).ask):
            with pytest.raises(DialError, match="SERVFAIL"):
                await ask(A)


async def test_a_server_that_hangs_up() -> None:
    async with start_name_server(ZONE) as server:
        server.is_silent = True
        with pytest.raises(DialError, match="ended without an answer"):
            await by_stream(server).ask(A)


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DialError):
        await StreamServer(LOOPBACK, free_port(), dialer=DIALER).ask(A)


async def test_a_way_that_is_not_there() -> None:
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


async def test_servers_are_told_where_clients_are() -> None:
    async with start_name_server(ZONE) as server:
        (client,) = addresses("192.0.2.77")
        for kind in (DatagramServer, StreamServer):
            await kind(LOOPBACK, server.port, dialer=DIALER, client_ip=client).ask(A)
        assert server.subnets == ["192.0.2.0/24"] * 2


async def test_questions_are_flows_with_a_tag() -> None:
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


async def test_questions_go_through_a_proxy() -> None:
    """Both kinds, through two nodes: the codecs of the way are in use."""
    async with (
        start_name_server(ZONE) as server,
        start_server_node() as last,
        start_chain_node(ServerSpec(), ClientSpec(server_port=last.port)) as first,
    ):
        assembler = Assembler(buffers=SharedBuffers(), policy_of=PolicySettings().level)
        proxy = assembler.outbound(vmess_outbound(ClientSpec(server_port=first.port)))

        async def through(_flow: Flow) -> Outbound:
            return proxy

        dialer = FlowDialer(through)
        assert await DatagramServer(LOOPBACK, server.port, dialer=dialer).ask(A) == FOUND
        assert await StreamServer(LOOPBACK, server.port, dialer=dialer).ask(A) == FOUND
        assert [each[2] for each in server.asked] == ["udp", "tcp"]


def test_servers_have_names_for_people() -> None:
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
async def test_by_https(host: str, tmp_path: Path) -> None:
    certificate, zone = Certificate(tmp_path), NameServer(port=0, zone=ZONE)
    async with start_https(certificate, zone) as port:
        server = HttpsServer(
            f"https://{host}:{port}/dns-query", resolve=on_loopback, tls=certificate.client()
        )
        assert await server.ask(A) == FOUND
        assert (await server.ask(AAAA)).addresses == tuple(addresses("2001:db8::1"))
    assert zone.asked == [("www.example", "A", "https"), ("www.example", "AAAA", "https")]


@needs_https
async def test_an_https_server_that_fails(tmp_path: Path) -> None:
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
async def test_an_https_server_that_cannot_prove_who_it_is(tmp_path: Path) -> None:
    certificate, zone = Certificate(tmp_path), NameServer(port=0, zone=ZONE)
    async with start_https(certificate, zone) as port:
        server = HttpsServer(f"https://127.0.0.1:{port}/dns-query", resolve=on_loopback)
        with pytest.raises(DialError, match=r"(?i)certificate"):
            await server.ask(A)
    assert zone.asked == []


@needs_https
async def test_an_https_server_that_is_not_there() -> None:
    server = HttpsServer(f"https://127.0.0.1:{free_port()}/dns-query", resolve=on_loopback)
    with pytest.raises(DialError):
        await server.ask(A)
