"""Ranges of ports that stay open."""

import contextlib
import errno
import ipaddress

import pytest
import trio
import trio.testing

from tests.kit.entropy import SeededEntropy
from tests.kit.ports import free_port_range
from tests.listen.machine import FakeMachine
from tests.listen.test_listener import EchoOnce, exchange
from trio_vmess.core import PortPlan
from trio_vmess.listen import (
    BoundPort,
    DynamicListener,
    PermanentListener,
    PortHandler,
    open_listener,
)

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def bind_loopback(port: int) -> BoundPort:
    return open_listener(LOOPBACK, port)


async def test_all_ports_are_open_and_offered(autojump_clock: trio.testing.MockClock) -> None:
    machine = FakeMachine()
    listener = PermanentListener(
        range(100, 105), machine.bind, machine.make_handler, entropy=SeededEntropy()
    )
    assert listener.offer_switch() is None
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            await listener.serve(connections=nursery, task_status=task_status)

        await nursery.start(serve)
        assert listener.ports == list(range(100, 105))
        await trio.sleep(24 * 3600.0)
        offers = [listener.offer_switch() for _ in range(100)]
        assert {offer.port for offer in offers if offer is not None} == set(machine.open)
        assert all(offer is not None and offer.minutes == 255 for offer in offers)
        inbounds = {id(offer.inbound) for offer in offers if offer is not None}
        assert inbounds == {id(handler.inbound) for handler in machine.handlers}
        assert not machine.closed
        nursery.cancel_scope.cancel()
    assert not machine.open
    assert listener.ports == []
    assert listener.offer_switch() is None
    assert machine.closed == machine.handlers


async def test_ports_may_share_a_handler(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = FakeMachine()
    shared = machine.make_handler(0)
    listener = PermanentListener(
        range(100, 103), machine.bind, lambda _port: shared, entropy=SeededEntropy()
    )
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            await listener.serve(connections=nursery, task_status=task_status)

        await nursery.start(serve)
        offers = [listener.offer_switch() for _ in range(50)]
        assert len({offer.port for offer in offers if offer is not None}) == 3
        assert {id(offer.inbound) for offer in offers if offer is not None} == {id(shared.inbound)}
        nursery.cancel_scope.cancel()
    assert machine.closed == [shared, shared, shared]


async def test_if_a_port_cannot_be_opened_all_are_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = FakeMachine(errors={103: OSError(errno.EADDRINUSE, "taken")})
    listener = PermanentListener(
        range(100, 105), machine.bind, machine.make_handler, entropy=SeededEntropy()
    )
    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="taken"):
            await listener.serve(connections=nursery)
    assert machine.binds == [100, 101, 102, 103]
    assert not machine.open


# Real sockets -----------------------------------------------------------------------------------


async def test_a_real_range() -> None:
    ports, echo = free_port_range(3), EchoOnce()
    listener = PermanentListener(
        ports,
        bind_loopback,
        lambda _port: PortHandler(handshake=60.0, inbound=echo, front=echo),
        entropy=SeededEntropy(),
    )
    async with trio.open_nursery() as connections, trio.open_nursery() as listeners:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            await listener.serve(connections=connections, task_status=task_status)

        await listeners.start(serve)
        for port in ports:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                assert await exchange(stream) == b"hello"
        listeners.cancel_scope.cancel()
    assert [local.port for _, local in echo.calls if local is not None] == list(ports)


async def test_a_real_generation_and_a_connection_that_outlives_it() -> None:
    ports, echo, entropy = free_port_range(6), EchoOnce(), SeededEntropy()
    plan = PortPlan(ports, concurrency=3, refresh=1, entropy=entropy)
    # One of them is taken.
    with contextlib.closing(open_listener(LOOPBACK, ports[0])):
        listener = DynamicListener(
            plan,
            bind_loopback,
            lambda _port: PortHandler(handshake=60.0, inbound=echo, front=echo),
            entropy=entropy,
        )
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as listeners:

                async def serve(task_status: trio.TaskStatus[None]) -> None:
                    await listener.serve(connections=connections, task_status=task_status)

                await listeners.start(serve)
                opened = listener.ports
                assert len(opened) == 3
                assert set(opened) <= set(ports[1:])
                streams = [await trio.open_tcp_stream("127.0.0.1", port) for port in opened]
                await echo.until(lambda: echo.running == 3)
                listeners.cancel_scope.cancel()
            assert plan._in_use == frozenset()
            for port, stream in zip(opened, streams, strict=True):
                async with stream:
                    assert await exchange(stream) == b"hello"
                open_listener(LOOPBACK, port).close()
