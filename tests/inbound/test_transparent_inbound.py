"""A transparent proxy's inbound: where things go, and what is refused.

That the kernel hands over what was going elsewhere is tested in `tests.loopback`.
"""

import ipaddress
import socket
from collections.abc import Collection

import pytest
import trio
import trio.testing

from tests.kit.inbound_client import LOCAL, SOURCE, open_client
from tests.kit.scripted_remote import open_remote
from tests.kit.waiting import wait_until
from trio_vmess.contracts import Dispatch
from trio_vmess.core import Destination, Flow, Host, Network, User
from trio_vmess.inbound import TransparentInbound

FALLBACK = ("example.com", 53)


def inbound(
    dispatch: Dispatch,
    *,
    fallback: tuple[Host, int] | None = None,
    ports: Collection[int] = (12345,),
) -> TransparentInbound:
    return TransparentInbound(
        dispatch, tag="door", level=1, fallback=fallback, find_ports=lambda: ports
    )


def flow(destination: Destination, source: str = SOURCE, *, looping_port: int = 0) -> Flow:
    return Flow(
        destination=destination,
        source=source,
        inbound_tag="door",
        user=User(level=1),
        looping_port=looping_port,
    )


async def test_a_stream_goes_on_to_where_it_was_going(
    autojump_clock: trio.testing.MockClock,
) -> None:
    door_is_elsewhere = (LOCAL.port + 1,)
    async with open_remote() as remote:
        door = inbound(remote.dispatch, fallback=FALLBACK, ports=door_is_elsewhere)
        async with open_client(door) as client:
            await client.send(b"ping")
            assert await client.receive(4) == b"ping"
            assert remote.outbound.flows == [flow(LOCAL)]


async def test_the_same_port_of_another_machine_is_no_loop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    elsewhere = Destination(host=ipaddress.ip_address("203.0.113.5"), port=LOCAL.port)
    async with open_remote() as remote:
        door = inbound(remote.dispatch, ports=(LOCAL.port,))
        async with open_client(door, reached=elsewhere) as client:
            await client.send(b"ping")
            assert await client.receive(4) == b"ping"
            assert remote.outbound.flows == [flow(elsewhere, looping_port=LOCAL.port)]


async def test_a_connection_to_the_port_itself_is_refused(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_remote() as remote,
        open_client(inbound(remote.dispatch, ports=(LOCAL.port,))) as client,
    ):
        assert await client.receive_rest() == b""
        assert remote.outbound.flows == []
    (message,) = caplog.messages
    assert message.startswith(
        f"dokodemo.not_redirected tag=door source={SOURCE} destination={LOCAL} hint='refused: "
    )


async def test_a_connection_to_the_port_itself_goes_to_the_fallback(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_remote() as remote:
        door = inbound(remote.dispatch, fallback=FALLBACK, ports=(LOCAL.port,))
        async with open_client(door) as client:
            await client.send(b"ping")
            assert await client.receive(4) == b"ping"
            assert remote.outbound.flows == [flow(Destination(host="example.com", port=53))]
    assert caplog.messages == []


async def test_datagrams_that_do_not_tell_go_to_the_fallback() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        async with open_remote() as remote, trio.open_nursery() as nursery:
            door = inbound(remote.dispatch, fallback=FALLBACK)
            nursery.start_soon(door.serve_datagrams, sock)
            await client.sendto(b"ping", port)
            assert await client.recvfrom(100) == (b"udp:example.com:53: ping", port)
            destination = Destination(host="example.com", port=53, network=Network.UDP)
            source = f"127.0.0.1:{client.getsockname()[1]}"
            assert remote.outbound.flows == [flow(destination, source)]
            nursery.cancel_scope.cancel()
    assert sock.fileno() == -1
    assert remote.outbound.all_closed


async def test_datagrams_that_do_not_tell_are_dropped_without_a_fallback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        async with open_remote() as remote, trio.open_nursery() as nursery:
            nursery.start_soon(inbound(remote.dispatch).serve_datagrams, sock)
            await client.sendto(b"ping", sock.getsockname())
            await wait_until(lambda: bool(caplog.messages))
            assert remote.outbound.flows == []
            nursery.cancel_scope.cancel()
    (message,) = caplog.messages
    assert message.startswith("dokodemo.not_redirected tag=door source=127.0.0.1:")
