"""Who does not ask for the tunnel is handed over to the fallback, with all the bytes."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from tests.kit.strangers import SOURCE, NotingFallback, told
from trio_vmess.contracts import Fallback, Inbound, Transport
from trio_vmess.core.carriage.upgrade import RequestHead, UpgradeRules
from trio_vmess.transport.carriage import CamouflageFront, FrameBuffer, UpgradeFront
from trio_vmess.transport.layer import TransportLayer

DEADLINE = 60.0


class Endless(TransportLayer):
    """A connection whose peer ends it a while after the deadline: a `Transport`."""

    async def receive_into(self, buffer: memoryview, /) -> int:
        size = await super().receive_into(buffer)
        if not size:
            await trio.sleep_until(2 * DEADLINE)
        return size


class NoInbound:
    """Nobody gets here: an `Inbound`."""

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        raise AssertionError(source)


def upgrade(fallback: Fallback | None) -> Inbound:
    def source_of(head: RequestHead, _source: str) -> str:
        return head.value("x-forwarded-for") or SOURCE

    return UpgradeFront(
        inbound=NoInbound(),
        rules=UpgradeRules(path="/tunnel"),
        clock=lambda: 0,
        buffer=FrameBuffer(),
        fallback=fallback,
        source_of=source_of,
    )


def camouflage(fallback: Fallback | None) -> Inbound:
    return CamouflageFront(
        inbound=NoInbound(),
        paths=("/tunnel",),
        make_head=bytes,
        clock=lambda: 0,
        fallback=fallback,
    )


FRONTS = [upgrade, camouflage]
MakeFront = Callable[[Fallback | None], Inbound]


async def told_at(front: Inbound, wire: bytes, *, step: int = 0) -> bytes:
    deadline = trio.current_time() + DEADLINE
    return await told(
        lambda transport: front.serve(transport, source=SOURCE, deadline=deadline), wire, step=step
    )


WIRES = {
    "another path": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "pipelined": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /tunnel HTTP/1.1\r\n\r\n",
    "a body": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "no HTTP": b"\x01\x02garbage\r\n\r\n",
    "a part of a head": b"GET /tunnel HTT",
    "a part of the path": b"GET /tun",
    "too much": b"GET /tunnel HTTP/1.1\r\nX: " + b"x" * 40_000,
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("make", FRONTS)
@pytest.mark.parametrize("name", WIRES)
async def test_the_fallback_gets_every_byte(make: MakeFront, name: str, step: int) -> None:
    fallback = NotingFallback()
    step *= 1 + len(WIRES[name]) // 1000
    assert await told_at(make(fallback), WIRES[name], step=step) == b"the site"
    ((received, source, _),) = fallback.calls
    assert received + fallback.rest == WIRES[name]
    assert source == SOURCE


@pytest.mark.parametrize("make", FRONTS)
async def test_who_sends_nothing_costs_the_site_no_connection(make: MakeFront) -> None:
    fallback = NotingFallback()
    assert await told_at(make(fallback), b"") == b""
    assert fallback.calls == []


@pytest.mark.parametrize("make", FRONTS)
async def test_a_head_without_an_end_is_handed_over_at_the_deadline(
    make: MakeFront, autojump_clock: MockClock
) -> None:
    fallback = NotingFallback()

    async def serve(transport: Transport) -> None:
        await make(fallback).serve(Endless(transport), source=SOURCE, deadline=DEADLINE)

    assert await told(serve, b"GET /tunnel HTTP/1.1\r\n") == b"the site"
    assert fallback.calls == [(b"GET /tunnel HTTP/1.1\r\n", SOURCE, DEADLINE)]


async def test_the_path_without_an_upgrade_is_handed_over_from_a_believed_address() -> None:
    fallback = NotingFallback()
    wire = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.77:0\r\n\r\n"
    await told_at(upgrade(fallback), wire)
    assert fallback.calls[0][:2] == (wire, "192.0.2.77:0")


@pytest.mark.parametrize("make", FRONTS)
async def test_without_a_fallback_nginx_answers(make: MakeFront) -> None:
    answer = await told_at(make(None), WIRES["another path"])
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\n")
