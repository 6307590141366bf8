"""A name server on loopback, by UDP and TCP on one port, that can also be a bad one.

    async with start_name_server({("www.example", "A"): ["192.0.2.1"]}) as server:
        ... server.port, server.asked ...

It is made with dnspython, as the product's own messages are: what is under test here is whom we
ask, how often, and what becomes of the answers, not the wire format.
"""

import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.ports import free_port

MAX_QUERIES: Final = 1000

Zone = Mapping[tuple[str, str], Sequence[str]]
"""Texts of records by name and type; a name without any record does not exist."""


@attrs.define(eq=False, kw_only=True)
class NameServer:
    """A running name server; what it does can be changed while it runs.

    Attributes:
        port: of 127.0.0.1.
        zone: what it knows.
        ttl: seconds that its answers hold.
        rcode: what it answers to everything, instead of what it knows.
        is_silent: it does not answer at all.
        silent_names: names that it does not answer.
        delay: seconds before it answers.
        truncates: answers by UDP are empty and marked as cut off.
        forges: before each answer by UDP, it sends the same with another number, and noise.
        asked: names, types, and `udp` or `tcp`, in their order.
        subnets: what it was told about clients.
    """

    port: int
    zone: Zone
    ttl: int = 300
    rcode: dns.rcode.Rcode | None = None
    is_silent: bool = False
    silent_names: frozenset[str] = frozenset()
    delay: float = 0.0
    truncates: bool = False
    forges: bool = False
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    subnets: list[str] = attrs.field(factory=list)

    def count(self, name: str) -> int:
        """Return how often a name was asked for."""
        return sum(each[0] == name for each in self.asked)

    def answer(self, wire: bytes, network: str) -> dns.message.Message:
        """Answer one query, and record it."""
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, network))
        assert len(self.asked) <= MAX_QUERIES, "a test sends too many queries"
        self.subnets += [
            f"{option.address}/{option.srclen}"
            for option in query.options
            if isinstance(option, dns.edns.ECSOption)
        ]
        response = dns.message.make_response(query, recursion_available=True)
        if self.rcode is not None:
            response.set_rcode(self.rcode)
            return response
        if self.truncates and network == "udp":
            response.flags |= dns.flags.TC
            return response
        self._fill(response, name, kind)
        return response

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        seen = set()
        while (name, "CNAME") in self.zone and name not in seen:
            seen.add(name)
            (target,) = self.zone[name, "CNAME"]
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", target))
            name = target.removesuffix(".")
        records = self.zone.get((name, kind), ())
        if records:
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", kind, *records))
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


@asynccontextmanager
async def start_name_server(
    zone: Zone | None = None, *, host: str = IPV4_LOOPBACK
) -> AsyncIterator[NameServer]:
    """Run a name server for the length of the block."""
    server = NameServer(port=free_port(), zone=zone or {})
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((host, server.port))
        listeners = await trio.open_tcp_listeners(server.port, host=host)

        async def serve_stream(stream: trio.SocketStream) -> None:
            await _serve_stream(server, stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_datagrams, server, sock, nursery)
            await nursery.start(trio.serve_listeners, serve_stream, listeners)
            yield server
            nursery.cancel_scope.cancel()


async def _serve_datagrams(
    server: NameServer, sock: trio.socket.SocketType, nursery: trio.Nursery
) -> None:
    async def answer(wire: bytes, source: object) -> None:
        response = server.answer(wire, "udp")
        if server.is_silent or server.asked[-1][0] in server.silent_names:
            return
        await trio.sleep(server.delay)
        data = response.to_wire()
        if server.forges:
            await sock.sendto(bytes([data[0] ^ 1]) + data[1:], source)
            await sock.sendto(b"noise", source)
            await sock.sendto(b"", source)
        await sock.sendto(data, source)

    while True:
        wire, source = await sock.recvfrom(4096)
        nursery.start_soon(answer, wire, source)


async def _serve_stream(server: NameServer, stream: trio.SocketStream) -> None:
    async with stream:
        size = int.from_bytes(await _receive_exactly(stream, 2), "big")
        data = server.answer(await _receive_exactly(stream, size), "tcp").to_wire()
        if server.is_silent:
            return
        # In two pieces: nobody may take one read for one message.
        framed = len(data).to_bytes(2, "big") + data
        await stream.send_all(framed[:7])
        await trio.sleep(0.01)
        await stream.send_all(framed[7:])


async def _receive_exactly(stream: trio.SocketStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = await stream.receive_some(size - len(received))
        assert data, "a query was cut off"
        received += data
    return received


def addresses(*texts: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return addresses of their texts."""
    return [ipaddress.ip_address(text) for text in texts]
