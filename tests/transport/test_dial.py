"""Dialling: which addresses are tried, in which order, for how long; nothing stays open."""

import errno
import ipaddress
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.names import has_ipv6_loopback
from tests.kit.resolver import TableResolver
from tests.kit.sockets import clogged_listener, refused_port
from trio_vmess.core import Host, IPAddress, is_public, parse_host
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.transport.dial import (
    ATTEMPT_DELAY,
    DIAL_TIMEOUT,
    _interleave_families,
    dial,
    resolve,
)
from trio_vmess.transport.tcp import SocketTransport

FIRST = ipaddress.ip_address("127.0.0.2")
SECOND = ipaddress.ip_address("127.0.0.3")
NAME = "two.example"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on the second address only."""
    with socket.create_server((str(SECOND), 0)) as listener:
        yield listener


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


async def check_connected(transport: SocketTransport, address: object, port: int) -> None:
    assert transport.socket.getpeername()[:2] == (str(address), port)
    await transport.send_all(b"x")
    await transport.aclose()


# Addresses --------------------------------------------------------------------------------------


async def test_an_address_is_dialled_without_the_resolver(listener: socket.socket) -> None:
    resolver = TableResolver({})
    resolver.use()
    transport = await dial(SECOND, port_of(listener))
    await check_connected(transport, SECOND, port_of(listener))
    assert resolver.asked == []


async def test_an_address_that_refuses() -> None:
    with pytest.raises(DialError, match="Connection refused") as caught:
        await dial(FIRST, refused_port())
    assert caught.value.reason is DialFailure.REFUSED


async def test_port_0_is_refused(autojump_clock: MockClock) -> None:
    for host in (FIRST, "localhost"):
        with pytest.raises(DialError, match="port 0") as caught:
            await dial(host, 0)
        assert caught.value.reason is DialFailure.REFUSED


async def test_a_dial_without_an_answer_times_out(mock_clock: MockClock) -> None:
    with clogged_listener() as clogged:

        async def jump() -> None:
            # Not with an autojump clock: the connection is real.
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(DIAL_TIMEOUT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(jump)
            with pytest.raises(DialError, match="connection attempt timed out") as caught:
                await dial(ipaddress.ip_address("127.0.0.1"), port_of(clogged))
    assert caught.value.reason is DialFailure.TIMED_OUT


async def test_an_address_on_this_machine_needs_no_turn_of_the_loop(
    listener: socket.socket,
) -> None:
    with trio.testing.assert_no_checkpoints():
        transport = await dial(SECOND, port_of(listener))
    assert transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await check_connected(transport, SECOND, port_of(listener))


async def test_the_local_address_is_bound(listener: socket.socket) -> None:
    local = ipaddress.IPv4Address("127.0.0.9")
    transport = await dial(SECOND, port_of(listener), local=local)
    assert transport.socket.getsockname()[0] == str(local)
    await transport.aclose()


async def test_a_local_address_of_another_machine_is_a_dial_error(listener: socket.socket) -> None:
    with pytest.raises(DialError) as caught:
        await dial(SECOND, port_of(listener), local=ipaddress.IPv4Address("192.0.2.77"))
    assert caught.value.reason is DialFailure.NETWORK_UNREACHABLE


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["unknown.example", "empty.example", "a..b", "x" * 64 + ".example", "a\0b", " "]
)
async def test_names_without_addresses(name: str) -> None:
    TableResolver({"empty.example": []}).use()
    with pytest.raises(DialError) as caught:
        await dial(name, 80)
    assert caught.value.reason is DialFailure.NAME_NOT_FOUND
    assert repr(name)[1:-1] in str(caught.value) or name in str(caught.value)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "-"])
async def test_names_that_the_system_resolver_rejects(name: str) -> None:
    # All of these are rejected before the system sends a query.
    with pytest.raises(DialError) as caught:
        await resolve(name + "..")
    assert caught.value.reason is DialFailure.NAME_NOT_FOUND


async def test_addresses_come_once_and_in_order() -> None:
    TableResolver({NAME: ["127.0.0.3", "::1", "127.0.0.2", "127.0.0.3", "fe80::1%lo"]}).use()
    found = [str(address) for address in await resolve(NAME)]
    assert found == ["127.0.0.3", "::1", "127.0.0.2", "fe80::1"]
    assert [str(each) for each in await resolve(NAME, socket.AF_INET6)] == ["::1", "fe80::1"]


def test_the_families_interleave_families() -> None:
    def parse(text: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        return [ipaddress.ip_address(each) for each in text.split()]

    assert _interleave_families(parse("2::1 2::2 2::3 1.1.1.1 2::4 1.1.1.2")) == parse(
        "2::1 1.1.1.1 2::2 1.1.1.2 2::3 2::4"
    )
    assert _interleave_families(parse("1.1.1.1 1.1.1.2 2::1")) == parse("1.1.1.1 2::1 1.1.1.2")
    assert _interleave_families([]) == []


async def test_the_second_address_follows_the_first_ones_failure(
    listener: socket.socket, slow_clock: MockClock
) -> None:
    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    start = trio.current_time()
    transport = await dial(NAME, port_of(listener))
    assert trio.current_time() - start < ATTEMPT_DELAY
    await check_connected(transport, SECOND, port_of(listener))


async def test_the_second_address_overtakes_a_silent_first(
    listener: socket.socket, fast_clock: MockClock
) -> None:
    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    with clogged_listener(str(FIRST), port_of(listener)):
        start = trio.current_time()
        transport = await dial(NAME, port_of(listener))
        assert trio.current_time() - start >= ATTEMPT_DELAY * 0.9
    await check_connected(transport, SECOND, port_of(listener))


async def test_the_first_address_wins_where_both_are_there(listener: socket.socket) -> None:
    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    with socket.create_server((str(FIRST), port_of(listener))):
        transport = await dial(NAME, port_of(listener))
        await check_connected(transport, FIRST, port_of(listener))
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


async def test_all_addresses_refuse() -> None:
    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    with pytest.raises(DialError) as caught:
        await dial(NAME, refused_port())
    assert caught.value.reason is DialFailure.REFUSED
    assert str(FIRST) in str(caught.value)
    assert str(SECOND) in str(caught.value)


async def test_a_name_of_one_family_only() -> None:
    if not has_ipv6_loopback():
        pytest.skip("there is no ::1 here")
    TableResolver({NAME: ["127.0.0.1", "::1"]}).use()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        transport = await dial(NAME, port_of(listener), family=socket.AF_INET6)
        await check_connected(transport, "::1", port_of(listener))
        with pytest.raises(DialError):
            await dial(NAME, port_of(listener), family=socket.AF_INET)


# Permission -------------------------------------------------------------------------------------


async def test_every_address_needs_permission(listener: socket.socket) -> None:
    queried = []

    def refuse(address: IPAddress) -> str | None:
        queried.append(address)
        return None if address == SECOND else "not this one"

    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    transport = await dial(NAME, port_of(listener), refuse=refuse)
    await check_connected(transport, SECOND, port_of(listener))
    assert queried == [FIRST, SECOND]


@pytest.mark.parametrize("host", [SECOND, NAME])
async def test_what_is_not_permitted_is_not_dialled(host: Host, listener: socket.socket) -> None:
    TableResolver({NAME: [str(FIRST), str(SECOND)]}).use()
    with pytest.raises(DialError, match=r"127\.0\.0\.3.*: not for you") as caught:
        await dial(host, port_of(listener), refuse=lambda _address: "not for you")
    assert caught.value.reason is DialFailure.FORBIDDEN
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


PUBLIC = """
    1.1.1.1 8.8.8.8 172.32.0.1 192.169.0.1 100.128.0.1 198.20.0.1 223.255.255.255
    2606:4700::1111 2a00::1 64:ff9b::808:808 2002:808:808::1 ::ffff:8.8.8.8
"""
NOT_PUBLIC = """
    127.0.0.1 127.255.255.255 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
    100.64.0.1 100.127.255.255 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    192.0.0.8 192.0.2.1 198.51.100.1 203.0.113.1 198.18.0.1 198.19.255.255 192.88.99.1
    :: ::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 ff0e::1 2001:db8::1 3fff::1 5f00::1 100::1
    4000::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::808:808
    2002:7f00:1:: 2002:a00:1::1 2001:0:a00:1::1 2001:0:808:808:0:0:f7f7:f7f7
"""


def test_public_addresses() -> None:
    assert [text for text in PUBLIC.split() if not is_public(ipaddress.ip_address(text))] == []


def test_addresses_that_are_not_public() -> None:
    for text in NOT_PUBLIC.split():
        assert not is_public(ipaddress.ip_address(text)), text
        host = parse_host(text)
        assert not isinstance(host, str)
        assert not is_public(host), text


async def test_no_address_is_dialled_while_nobody_can_tell_whether_it_may_be(
    listener: socket.socket,
) -> None:
    def refuse(_address: IPAddress) -> str | None:
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(DialError, match="Too many open files"):
        await dial(SECOND, port_of(listener), refuse=refuse)


# Cancellation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [NAME, "clogged.example"])
def test_cancellation_leaves_nothing_open(host: Host, listener: socket.socket) -> None:
    """A socket that is dropped rather than closed warns, and warnings are errors here."""
    port = port_of(listener)
    clogged = clogged_listener(str(FIRST), port) if host == "clogged.example" else None

    def build() -> Scenario:
        connected: list[SocketTransport] = []

        async def run() -> None:
            TableResolver(
                {
                    NAME: ["127.0.0.4", str(SECOND), "127.0.0.5"],
                    "clogged.example": [str(FIRST), str(SECOND)],
                }
            ).use()
            transport = await dial(host, port)
            connected.append(transport)
            await transport.aclose()

        def check() -> None:
            assert all(transport.socket.fileno() < 0 for transport in connected)
            listener.setblocking(False)
            try:
                while True:
                    listener.accept()[0].close()
            except BlockingIOError:
                return

        return Scenario(run=run, check=check)

    assert sweep_cancellations(build, autojump=False, rate=50.0) >= 3
    if clogged is not None:
        clogged.close()


async def test_cancelling_the_dial_of_an_address_leaves_nothing_open() -> None:
    with clogged_listener() as clogged:
        with trio.move_on_after(0.02) as scope:
            await dial(parse_host("127.0.0.1"), port_of(clogged))
        assert scope.cancelled_caught
