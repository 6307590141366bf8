"""PROXY headers in front of an inbound, and whose are believed."""

import ipaddress

import pytest
import trio
from trio.testing import MockClock

from tests.kit.remote_ends import memory_pair
from trio_vmess.contracts import Transport
from trio_vmess.core import parse_host
from trio_vmess.transport.carriage import ProxyHeaderFront, TrustedProxies

V1 = b"PROXY TCP4 203.0.113.9 192.0.2.7 5678 443\r\n"


class Recorder:
    """Notes what it is served with."""

    def __init__(self) -> None:
        self.served: list[tuple[str, str, bytes]] = []

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        buffer = memoryview(bytearray(100))
        size = await transport.receive_into(buffer)
        self.served.append((source, str(transport.remote), bytes(buffer[:size])))


async def serve(sent: bytes, *, source: str, networks: tuple[str, ...] = ()) -> Recorder:
    inbound = Recorder()
    proxies = TrustedProxies(tuple(map(ipaddress.ip_network, networks)))  # type: ignore[arg-type]
    front = ProxyHeaderFront(inbound=inbound, proxies=proxies)
    ours, theirs = memory_pair()
    await ours.send_all(sent)
    await ours.send_eof()
    await front.serve(theirs, source=source, deadline=trio.current_time() + 8)
    return inbound


@pytest.mark.parametrize("source", ["127.0.0.1:9", "[::1]:9", ""])
async def test_a_proxy_on_this_machine_is_believed(source: str) -> None:
    inbound = await serve(V1 + b"hello", source=source)
    ((told, remote, data),) = inbound.served
    assert told == "203.0.113.9:5678"
    assert remote.endswith("203.0.113.9:5678")
    assert data == b"hello"


async def test_a_listed_network_is_believed_and_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listed = await serve(V1 + b"x", source="198.51.100.3:9", networks=("198.51.100.0/24",))
    assert listed.served[0][0] == "203.0.113.9:5678"
    assert not caplog.text
    other = await serve(V1 + b"x", source="198.51.100.3:9")
    assert other.served[0][0] == "198.51.100.3:9"
    assert other.served[0][2] == b"x"
    assert "proxy.untrusted source=198.51.100.3:9" in caplog.text


async def test_without_a_header_there_is_no_service(caplog: pytest.LogCaptureFixture) -> None:
    inbound = await serve(b"GET / HTTP/1.1\r\n\r\n", source="127.0.0.1:9")
    assert inbound.served == []
    assert "proxy.refused source=127.0.0.1:9" in caplog.text


async def test_the_header_has_the_deadline_of_the_connection(autojump_clock: MockClock) -> None:
    inbound = Recorder()
    front = ProxyHeaderFront(inbound=inbound, proxies=TrustedProxies())
    ours, theirs = memory_pair()
    await ours.send_all(V1[:20])
    await front.serve(theirs, source="127.0.0.1:9", deadline=trio.current_time() + 8)
    assert trio.current_time() == pytest.approx(8)
    assert inbound.served == []


def test_forwarded_addresses() -> None:
    proxies = TrustedProxies((ipaddress.ip_network("198.51.100.0/24"),))
    assert proxies.forwarded(["203.0.113.9, 198.51.100.7"], "127.0.0.1:9") == "203.0.113.9:0"
    assert proxies.forwarded(["unknown"], "127.0.0.1:9") == "127.0.0.1:9"
    assert proxies.forwarded([], "127.0.0.1:9") == "127.0.0.1:9"
    assert proxies.trusts(ipaddress.IPv4Address("198.51.100.1"))
    host = parse_host("192.0.2.1")
    assert not isinstance(host, str)
    assert not proxies.trusts(host)
