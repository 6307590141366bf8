"""The plan of dynamic ports: no port twice, none lost, and always an end."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.kit.entropy import SeededEntropy
from tests.kit.scripted_entropy import ScriptedEntropy
from trio_vmess.core.ports import EXCHANGES_MAX, PortPlan
from trio_vmess.errors import PortsExhausted


def make_plan(
    ports: range = range(1000, 1010), *, concurrency: int = 3, refresh: int = 5, seed: int = 0
) -> PortPlan:
    return PortPlan(ports, concurrency=concurrency, refresh=refresh, entropy=SeededEntropy(seed))


# Choosing ---------------------------------------------------------------------------------------


def test_a_generation_has_different_ports_of_the_range() -> None:
    plan = make_plan()
    ports = plan.next_generation(0.0)
    assert len(set(ports)) == 3
    assert set(ports) <= set(range(1000, 1010))
    assert plan._in_use == set(ports)


def test_the_random_number_chooses_the_nth_free_port() -> None:
    entropy = ScriptedEntropy(numbers=(1, 1, 0, 6))
    plan = PortPlan(range(1000, 1010), concurrency=4, refresh=1, entropy=entropy)
    # 1001 is taken by then, so the second of the free ones is 1002; nine, eight, seven are left.
    assert plan.next_generation(0.0) == (1001, 1002, 1000, 1009)


def test_every_port_is_equally_likely() -> None:
    plan = make_plan(range(10, 15), concurrency=2)
    seen: Counter[int] = Counter()
    for turn in range(3000):
        ports = plan.next_generation(float(turn))
        seen.update(ports)
        plan.give_back(ports)
    assert set(seen) == set(range(10, 15))
    # 1200 each; five standard deviations are 134.
    assert all(abs(count - 1200) < 134 for count in seen.values())


def test_two_generations_fit_twice_the_concurrency_exactly() -> None:
    plan = make_plan(range(20, 26), concurrency=3)
    first = plan.next_generation(0.0)
    second = plan.next_generation(300.0)
    assert set(first) | set(second) == set(range(20, 26))


def test_the_error_for_a_full_range_says_what_to_change() -> None:
    plan = make_plan(range(20, 24), concurrency=3)
    first = plan.next_generation(0.0)
    with pytest.raises(PortsExhausted) as caught:
        plan.next_generation(300.0)
    assert str(caught.value) == (
        "3 new ports are needed, but of the 4 in 20-23 3 are in use; "
        "widen the range to at least 6 ports, or lower the concurrency"
    )
    assert plan._in_use == set(first)
    plan.give_back(first)
    assert len(plan.next_generation(600.0)) == 3


@pytest.mark.parametrize(
    ("ports", "concurrency", "refresh"),
    [
        (range(0), 1, 1),
        (range(10), 1, 1),
        (range(1, 0x10001), 1, 1),
        (range(10, 20, 2), 1, 1),
        (range(20, 10, -1), 1, 1),
        (range(10, 20), 0, 1),
        (range(10, 20), 1, 0),
    ],
)
def test_impossible_plans_are_refused(ports: range, concurrency: int, refresh: int) -> None:
    with pytest.raises(ValueError, match=r"not range|at least 1"):
        make_plan(ports, concurrency=concurrency, refresh=refresh)


def test_a_plan_prints_like_the_configuration() -> None:
    assert str(make_plan()) == "1000-1009"
    assert str(make_plan(range(80, 81), concurrency=1)) == "80"
    assert repr(make_plan()) == "<PortPlan 1000-1009, 0 in use>"


# Busy ports -------------------------------------------------------------------------------------


def test_a_busy_port_is_exchanged_and_left_alone_until_the_next_refresh() -> None:
    plan = make_plan(range(30, 33), concurrency=1)
    (port,) = plan.next_generation(0.0)
    tried = {port, other := plan.exchange(port)}
    tried.add(plan.exchange(other))
    assert tried == {30, 31, 32}
    last = next(iter(plan._in_use))
    with pytest.raises(PortsExhausted, match="0 are in use and 3 more were tried"):
        plan.exchange(last)
    assert plan._in_use == frozenset()
    assert plan.next_generation(300.0)[0] in range(30, 33)


def test_exchanges_are_bounded_when_other_programs_hold_the_range() -> None:
    plan = make_plan(range(1, 0x10000), concurrency=1)
    (port,) = plan.next_generation(0.0)
    tried = [port]
    for _ in range(EXCHANGES_MAX):
        tried.append(plan.exchange(tried[-1]))
    with pytest.raises(PortsExhausted, match="choose a range that nothing else uses"):
        plan.exchange(tried[-1])
    assert len(tried) == len(set(tried)) == EXCHANGES_MAX + 1
    assert plan._in_use == frozenset()


def test_only_ports_in_use_come_back() -> None:
    plan = make_plan(range(40, 44), concurrency=2)
    ports = plan.next_generation(0.0)
    unused = next(port for port in range(40, 44) if port not in ports)
    for wrong in ((unused,), (*ports, unused), (ports[0], ports[0])):
        with pytest.raises(ValueError, match="not in use, or given back twice"):
            plan.give_back(wrong)
        assert plan._in_use == set(ports)
    with pytest.raises(ValueError, match="not in use"):
        plan.exchange(unused)
    plan.give_back(ports)
    assert plan._in_use == frozenset()


# Minutes ----------------------------------------------------------------------------------------


def test_minutes_count_down_to_the_next_refresh() -> None:
    plan = make_plan(refresh=5)
    plan.next_generation(1000.5)
    said = [plan.minutes_left(1000.5 + 30 * half) for half in range(12)]
    assert said == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1]
    plan.next_generation(1300.5)
    assert plan.minutes_left(1300.5) == 5


def test_a_failed_refresh_counts_all_the_same() -> None:
    plan = make_plan(range(50, 53), concurrency=2, refresh=3)
    plan.next_generation(0.0)
    with pytest.raises(PortsExhausted):
        plan.next_generation(180.0)
    # What opened at 0 closes at 360.
    assert plan.minutes_left(180.0) == 3


@given(
    refresh=st.integers(1, 0xFFFF),
    opened=st.floats(-1e9, 1e9),
    passed=st.floats(-1e6, 1e9),
)
def test_minutes_always_fit_the_wire(refresh: int, opened: float, passed: float) -> None:
    plan = make_plan(refresh=refresh)
    assert plan.minutes_left(opened) == min(refresh, 255)
    plan.next_generation(opened)
    assert 1 <= plan.minutes_left(opened + passed) <= min(refresh, 255)


# Any order of things ----------------------------------------------------------------------------


class PlanMachine(RuleBasedStateMachine):
    """Generations come and go in any order, on a machine where any port may be busy."""

    @initialize(
        first=st.integers(1, 0xFFFF),
        size=st.integers(1, 40),
        concurrency=st.integers(1, 6),
        seed=st.integers(0, 1000),
    )
    def begin(self, first: int, size: int, concurrency: int, seed: int) -> None:
        self.range = range(first, min(first + size, 0x10000))
        self.concurrency = concurrency
        self.plan = make_plan(self.range, concurrency=concurrency, seed=seed)
        self.open: list[list[int]] = []
        self.tried: set[int] = set()
        self.now = 0.0

    @rule()
    def open_generation(self) -> None:
        self.now += 60.0
        self.tried = set()
        before = set(self.plan._in_use)
        try:
            ports = self.plan.next_generation(self.now)
        except PortsExhausted:
            assert len(self.range) - len(before) < self.concurrency
            assert self.plan._in_use == before
            return
        assert len(ports) == len(set(ports)) == self.concurrency
        assert not before & set(ports)
        self.open.append(list(ports))

    @precondition(lambda self: self.open and self.open[-1])
    @rule(data=st.data())
    def find_a_port_busy(self, data: st.DataObject) -> None:
        newest = self.open[-1]
        port = newest.pop(data.draw(st.integers(0, len(newest) - 1)))
        before = set(self.plan._in_use)
        self.tried.add(port)
        try:
            other = self.plan.exchange(port)
        except PortsExhausted:
            free = set(self.range) - (before - {port}) - self.tried
            assert not free or len(self.tried) > EXCHANGES_MAX
            return
        assert other not in before
        assert other not in self.tried
        newest.append(other)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close_a_generation(self, data: st.DataObject) -> None:
        self.plan.give_back(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))))

    @invariant()
    def in_use_is_what_is_open(self) -> None:
        if not hasattr(self, "plan"):
            return
        flat = [port for ports in self.open for port in ports]
        assert len(flat) == len(set(flat))
        assert self.plan._in_use == set(flat)
        assert set(flat) <= set(self.range)


TestPlanMachine = PlanMachine.TestCase
TestPlanMachine.settings = settings(stateful_step_count=20)
