import re
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.kit.entropy import SeededEntropy
from trio_vmess.routing import Balancer, BalancerStrategy, Health, HealthPolicy

RANDOM, ROUND_ROBIN, LEAST = BalancerStrategy
TAGS = ("direct", "proxy-a", "proxy-b", "proxy-c", "", "block")


def balancer(
    strategy: BalancerStrategy = ROUND_ROBIN,
    *,
    selector: tuple[str, ...] = ("proxy",),
    fallback: str = "",
    health: Health | None = None,
) -> Balancer:
    return Balancer(
        tag="balancer",
        selector=selector,
        outbound_tags=TAGS,
        health=health or Health(),
        entropy=SeededEntropy(1),
        strategy=strategy,
        fallback=fallback,
    )


def fail(health: Health, *tags: str, now: float = 0.0) -> None:
    for tag in tags:
        for _ in range(3):
            health.report_failure(tag, now)


# Who is chosen ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "candidates"),
    [
        (("proxy",), ("proxy-a", "proxy-b", "proxy-c")),
        (("proxy-b", "bl"), ("proxy-b", "block")),
        (("proxy-b", "proxy"), ("proxy-a", "proxy-b", "proxy-c")),
        (("none",), ()),
        ((), ()),
        (("",), ("direct", "proxy-a", "proxy-b", "proxy-c", "block")),
    ],
)
def test_selectors_are_prefixes_of_tags(
    selector: tuple[str, ...], candidates: tuple[str, ...]
) -> None:
    assert balancer(selector=selector).candidates == candidates


def test_random_chooses_each_about_as_often() -> None:
    choice = balancer(RANDOM)
    counts = Counter(choice.choose(0) for _ in range(3000))
    assert set(counts) == {"proxy-a", "proxy-b", "proxy-c"}
    assert all(850 < count < 1150 for count in counts.values())


def test_round_robin_takes_turns() -> None:
    choice = balancer()
    assert [choice.choose(0) for _ in range(5)] == [
        *("proxy-a", "proxy-b", "proxy-c", "proxy-a", "proxy-b")
    ]


def test_round_robin_keeps_its_order_around_unhealthy_outbounds() -> None:
    health = Health()
    choice = balancer(health=health)
    assert choice.choose(0) == "proxy-a"
    fail(health, "proxy-b")
    assert [choice.choose(1) for _ in range(4)] == ["proxy-c", "proxy-a", "proxy-c", "proxy-a"]


def test_least_connections_chooses_the_idlest_and_turns_among_equals() -> None:
    choice = balancer(LEAST)
    load = {"proxy-a": 5, "proxy-b": 2, "proxy-c": 3, "direct": 0}
    assert choice.choose(0, connections=load) == "proxy-b"
    assert choice.choose(0, connections={"proxy-b": 1}) == "proxy-c"
    assert [choice.choose(0) for _ in range(3)] == ["proxy-a", "proxy-b", "proxy-c"]


@pytest.mark.parametrize("strategy", BalancerStrategy)
def test_excluded_outbounds_are_not_chosen(strategy: BalancerStrategy) -> None:
    choice = balancer(strategy)
    assert choice.choose(0, exclude={"proxy-a", "proxy-c"}) == "proxy-b"
    assert choice.choose(0, exclude={"proxy-a", "proxy-b", "proxy-c"}) is None


def test_without_candidates_only_the_fallback_is_chosen() -> None:
    assert balancer(selector=("none",)).choose(0) is None
    assert balancer(selector=("none",), fallback="direct").choose(0) == "direct"


# Health -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", BalancerStrategy)
def test_an_unhealthy_outbound_is_passed_over(strategy: BalancerStrategy) -> None:
    health = Health()
    choice = balancer(strategy, health=health)
    fail(health, "proxy-a", "proxy-c")
    assert {choice.choose(1) for _ in range(20)} == {"proxy-b"}


def test_the_fallback_is_chosen_when_all_are_unhealthy() -> None:
    health = Health()
    choice = balancer(fallback="direct", health=health)
    fail(health, "proxy-a", "proxy-b")
    assert choice.choose(1) == "proxy-c"
    fail(health, "proxy-c")
    assert choice.choose(1) == "direct"
    assert choice.choose(1, exclude={"direct"}) in choice.candidates


def test_without_fallback_the_earliest_end_of_a_cooldown_decides() -> None:
    health = Health()
    choice = balancer(health=health)
    fail(health, "proxy-a", now=2)
    fail(health, "proxy-b", now=1)
    fail(health, "proxy-c", now=3)
    assert choice.choose(4) == "proxy-b"
    assert choice.choose(4, exclude={"proxy-b"}) == "proxy-a"


def test_failures_count_only_in_a_row() -> None:
    health = Health(HealthPolicy(failure_count=2))
    assert not health.report_failure("x", 0)
    assert not health.report_success("x")
    assert not health.report_failure("x", 1)
    assert not health.is_unhealthy("x", 1)
    assert health.report_failure("x", 2)
    assert health.is_unhealthy("x", 2)
    assert not health.is_unhealthy("y", 2)
    assert health.report_success("x")
    assert not health.is_unhealthy("x", 2)


def test_the_cooldown_grows_with_each_failed_trial_up_to_a_bound() -> None:
    health = Health(HealthPolicy(failure_count=1, first_cooldown=5, growth=2, cooldown_max=30))
    now, cooldowns = 100.0, []
    for _ in range(5):
        health.report_failure("x", now)
        cooldowns.append(health.cooldown_until("x") - now)
        now = health.cooldown_until("x")
    assert cooldowns == [5, 10, 20, 30, 30]
    health.report_success("x")
    health.report_failure("x", now)
    assert health.cooldown_until("x") == now + 5


def test_many_connections_that_fail_at_once_are_one_failure() -> None:
    health = Health()
    begins = [health.report_failure("x", 0.1 * each) for each in range(30)]
    assert begins == [False, False, True] + [False] * 27
    assert health.cooldown_until("x") == pytest.approx(5.2)


def test_after_the_cooldown_one_connection_at_a_time_is_a_trial() -> None:
    health = Health()
    choice = balancer(health=health, selector=("proxy-a", "proxy-b"))
    fail(health, "proxy-a")
    assert {choice.choose(4.9) for _ in range(4)} == {"proxy-b"}
    chosen = [choice.choose(5.0) for _ in range(6)]
    assert chosen.count("proxy-a") == 1

    # The trial fails: the next cooldown is twice as long.
    health.report_failure("proxy-a", 6.0)
    assert {choice.choose(15.9) for _ in range(4)} == {"proxy-b"}
    assert "proxy-a" in [choice.choose(16.0) for _ in range(2)]

    # This one succeeds: the outbound is healthy again, for all connections.
    assert health.report_success("proxy-a")
    assert [choice.choose(16.1) for _ in range(4)].count("proxy-a") == 2


def test_a_trial_without_outcome_does_not_block_the_next_for_ever() -> None:
    health = Health(HealthPolicy(trial_time=7))
    choice = balancer(health=health, selector=("proxy-a",), fallback="direct")
    fail(health, "proxy-a")
    assert choice.choose(5.0) == "proxy-a"
    assert choice.choose(11.9) == "direct"
    assert choice.choose(12.0) == "proxy-a"


def test_a_trial_counts_only_for_unhealthy_outbounds() -> None:
    health = Health()
    fail(health, "proxy-a", now=0)
    fail(health, "proxy-b", now=1)
    health.begin_trial("proxy-a", 6)
    health.begin_trial("proxy-c", 6)
    assert [tag for tag in TAGS if health.is_unhealthy(tag, 6)] == ["proxy-a"]


@pytest.mark.parametrize(
    "wrong", [{"failure_count": 0}, {"growth": 0.5}, {"first_cooldown": -1.0}, {"trial_time": -1.0}]
)
def test_a_policy_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=re.escape(next(iter(wrong)))):
        HealthPolicy(**wrong)  # type: ignore[arg-type]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["choose", "fail", "succeed"]),
        st.sampled_from(["proxy-a", "proxy-b", "proxy-c"]),
        st.floats(0, 60),
    ),
    max_size=60,
)


@given(EVENTS, st.sampled_from(BalancerStrategy), st.sampled_from(["", "direct"]))
def test_an_outbound_is_always_chosen_and_healthy_ones_first(
    events: list[tuple[str, str, float]], strategy: BalancerStrategy, fallback: str
) -> None:
    health = Health()
    choice = balancer(strategy, fallback=fallback, health=health)
    now = 0.0
    for what, tag, elapsed in events:
        now += elapsed
        match what:
            case "fail":
                health.report_failure(tag, now)
            case "succeed":
                health.report_success(tag)
                assert not health.is_unhealthy(tag, now)
            case _:
                healthy = [each for each in choice.candidates if not health.is_unhealthy(each, now)]
                chosen = choice.choose(now)
                assert chosen in (healthy or ([fallback] if fallback else choice.candidates))
        for each in choice.candidates:
            assert health.cooldown_until(each) <= now + 300
