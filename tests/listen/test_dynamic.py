"""Generations of ports over simulated days, on a machine that may refuse ports."""

import errno
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest
import trio
import trio.testing

from tests.kit.cancel_sweep import Scenario, sweep_cancellations
from tests.kit.entropy import SeededEntropy
from tests.listen.machine import FakeMachine, FakePort
from trio_vmess.contracts import Inbound
from trio_vmess.core import PortPlan
from trio_vmess.listen import DynamicListener, PortHandler, SwitchOffer

DAY = 24 * 60


@attrs.frozen
class Scene:
    """A listener with its machine."""

    machine: FakeMachine
    plan: PortPlan
    listener: DynamicListener[Inbound]

    @property
    def newest(self) -> list[int]:
        return [each.listener.port for each in self.listener._generations[-1].open_ports]

    def is_served_by(self, offer: SwitchOffer[Inbound]) -> bool:
        """Tell whether the offered inbound is the one behind the offered port."""
        (port,) = [each for each in self.listener._open_ports() if each.listener.port == offer.port]
        return port.handler.inbound is offer.inbound


def make_scene(
    ports: range = range(1000, 1020),
    *,
    concurrency: int = 3,
    refresh: int = 5,
    machine: FakeMachine | None = None,
) -> Scene:
    machine = machine or FakeMachine()
    entropy = SeededEntropy(7)
    plan = PortPlan(ports, concurrency=concurrency, refresh=refresh, entropy=entropy)
    listener = DynamicListener(
        plan, machine.bind, machine.make_handler, entropy=entropy, tag="dynamic"
    )
    return Scene(machine, plan, listener)


async def start(scene: Scene, nursery: trio.Nursery) -> None:
    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await scene.listener.serve(connections=nursery, task_status=task_status)

    await nursery.start(serve)


@contextmanager
def everything_closes(scene: Scene) -> Iterator[None]:
    yield
    assert not scene.machine.open
    assert scene.plan._in_use == frozenset()
    assert scene.listener.ports == []
    assert scene.listener.offer_switch(now=0.0) is None


# A day in the life ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refresh", "concurrency", "minutes"),
    [
        (1, 2, DAY // 8),
        (2, 5, DAY // 8),
        (5, 3, DAY),
        *((refresh, count, 60) for refresh, count in itertools.product((1, 2, 5), range(1, 6))),
    ],
)
async def test_generations_overlap_and_end(
    autojump_clock: trio.testing.MockClock, refresh: int, concurrency: int, minutes: int
) -> None:
    # Exactly two generations fit: every refresh needs the ports that come back in that moment.
    scene = make_scene(
        range(1000, 1000 + 2 * concurrency), concurrency=concurrency, refresh=refresh
    )
    begin = trio.current_time()
    with everything_closes(scene):
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            generation: set[int] = set()
            for minute in range(minutes):
                await trio.sleep_until(begin + 60 * minute + 30)
                is_first = minute < refresh
                opened = list(scene.machine.open)
                assert len(opened) == concurrency * (1 if is_first else 2)
                assert sorted(scene.listener.ports) == sorted(opened)
                assert all(port.is_served for port in scene.machine.open.values())
                assert scene.plan._in_use == set(opened)
                if minute % refresh == 0:
                    assert not generation & set(scene.newest)
                    generation = set(scene.newest)
                assert set(scene.newest) == generation
                offer = scene.listener.offer_switch()
                assert offer is not None
                assert offer.port in generation
                assert offer.minutes == refresh - minute % refresh
                assert scene.is_served_by(offer)
            nursery.cancel_scope.cancel()
    assert len(scene.machine.handlers) == concurrency * -(-minutes // refresh)


async def test_the_announced_minutes_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    scene = make_scene(refresh=2)
    async with trio.open_nursery() as nursery:
        await start(scene, nursery)
        for _ in range(40):
            await trio.sleep(17.0)
            offer = scene.listener.offer_switch()
            assert offer is not None
            port = scene.machine.open[offer.port]

            async def stays(port: FakePort = port, minutes: int = offer.minutes) -> None:
                await trio.sleep(60.0 * minutes - 1.0)
                assert port.is_open

            nursery.start_soon(stays)
        await trio.sleep(120.0)
        nursery.cancel_scope.cancel()


async def test_the_schedule_is_kept_after_a_suspend(mock_clock: trio.testing.MockClock) -> None:
    scene = make_scene(refresh=5)
    async with trio.open_nursery() as nursery:
        await start(scene, nursery)
        first = set(scene.machine.open)
        mock_clock.jump(60.0 * 18)
        await trio.testing.wait_all_tasks_blocked()
        assert len(scene.machine.open) == 3
        assert len(scene.machine.handlers) == 6
        assert first != set(scene.machine.open)
        offer = scene.listener.offer_switch()
        assert offer is not None
        # The refresh of minute 15 was made up for; three minutes of it have passed.
        assert offer.minutes == 2
        mock_clock.jump(60.0 * 2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(scene.machine.open) == 6
        nursery.cancel_scope.cancel()


# Things that go wrong ---------------------------------------------------------------------------


def taken(port: int) -> OSError:
    return OSError(errno.EADDRINUSE, f"cannot listen on 127.0.0.1:{port}: another program listens")


async def test_busy_ports_are_replaced(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    busy = range(1000, 1005)
    scene = make_scene(
        range(1000, 1011), machine=FakeMachine(errors={port: taken(port) for port in busy})
    )
    with everything_closes(scene):
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            assert len(scene.machine.open) == 3
            await trio.sleep(301.0)
            assert set(scene.machine.open) == set(range(1005, 1011))
            assert scene.plan._in_use == set(range(1005, 1011))
            nursery.cancel_scope.cancel()
    failures = [line for line in caplog.messages if line.startswith("ports.failed")]
    assert failures
    assert all("inbound=dynamic" in line and "another program" in line for line in failures)


async def test_a_fully_taken_range_is_tried_again_at_the_next_refresh(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ports = range(2000, 3000)
    machine = FakeMachine(errors={port: taken(port) for port in ports})
    scene = make_scene(ports, machine=machine)
    with everything_closes(scene):
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            assert 3 <= len(machine.binds) <= 3 + 16
            assert len(set(machine.binds)) == len(machine.binds)
            assert scene.plan._in_use == frozenset()
            assert scene.listener.offer_switch() is None
            assert any(line.startswith("ports.missing") for line in caplog.messages)
            assert any("choose a range" in line for line in caplog.messages)
            machine.errors.clear()
            await trio.sleep(301.0)
            assert len(machine.open) == 3
            nursery.cancel_scope.cancel()


async def test_other_errors_are_not_retried(autojump_clock: trio.testing.MockClock) -> None:
    ports = range(2000, 2020)
    machine = FakeMachine(errors={port: OSError(errno.EMFILE, "too many files") for port in ports})
    scene = make_scene(ports, machine=machine)
    with everything_closes(scene):
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            assert len(machine.binds) == 3
            nursery.cancel_scope.cancel()


async def test_a_range_too_small_skips_every_other_refresh(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_vmess.listen")
    scene = make_scene(range(1000, 1005), concurrency=3, refresh=1)
    with everything_closes(scene):
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            await trio.sleep(30.0)
            for number in range(10):
                assert len(scene.machine.open) == 3
                offer = scene.listener.offer_switch()
                if number % 2:
                    # The ports close in 30 seconds, and an offer counts whole minutes.
                    assert offer is None
                else:
                    assert offer is not None
                    assert offer.port in scene.machine.open
                await trio.sleep(60.0)
            nursery.cancel_scope.cancel()
    names = [line.partition(" ")[0] for line in caplog.messages]
    assert names[:4] == ["ports.opened", "ports.exhausted", "ports.opened", "ports.exhausted"]
    assert "widen the range to at least 6 ports" in caplog.messages[1]


async def test_a_handler_that_cannot_be_built_closes_the_generation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    machine = FakeMachine()

    def make_handler(port: int) -> PortHandler[Inbound]:
        if len(machine.handlers) == 4:
            raise ZeroDivisionError
        return machine.make_handler(port)

    entropy = SeededEntropy(1)
    plan = PortPlan(range(10, 20), concurrency=3, refresh=1, entropy=entropy)
    listener = DynamicListener(plan, machine.bind, make_handler, entropy=entropy)
    scene = Scene(machine, plan, listener)
    with everything_closes(scene), pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as connections:
            await listener.serve(connections=connections)


# Cancellation -----------------------------------------------------------------------------------


def build_three_refreshes() -> Scenario:
    errors = {port: taken(port) for port in range(1000, 1003)}
    scene = make_scene(
        range(1000, 1012), concurrency=3, refresh=1, machine=FakeMachine(errors=errors)
    )

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await start(scene, nursery)
            await trio.sleep(200.0)
            nursery.cancel_scope.cancel()

    def check() -> None:
        assert not scene.machine.open
        assert scene.plan._in_use == frozenset()
        assert scene.listener.ports == []

    return Scenario(run=run, check=check)


def test_a_cancellation_at_any_step_closes_everything() -> None:
    assert sweep_cancellations(build_three_refreshes) > 20


# Offers -----------------------------------------------------------------------------------------


async def test_a_closed_port_is_not_offered(autojump_clock: trio.testing.MockClock) -> None:
    scene = make_scene(concurrency=2)
    async with trio.open_nursery() as nursery:
        await start(scene, nursery)
        one, other = scene.newest
        scene.machine.open[one].close()
        for _ in range(20):
            offer = scene.listener.offer_switch()
            assert offer is not None
            assert offer.port == other
        nursery.cancel_scope.cancel()


async def test_a_handler_is_told_when_its_port_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = make_scene(concurrency=2, refresh=1)
    async with trio.open_nursery() as nursery:
        await start(scene, nursery)
        first = list(scene.machine.handlers)
        await trio.sleep(61.0)
        assert not scene.machine.closed
        await trio.sleep(60.0)
        assert scene.machine.closed == first
        nursery.cancel_scope.cancel()
    assert sorted(map(id, scene.machine.closed)) == sorted(map(id, scene.machine.handlers))
