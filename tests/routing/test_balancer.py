import re
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.kit.entropy import SeededEntropy
from trio_vmess.routing import Balancer, BalancingStrategy, Health, HealthPolicy

RANDOM, ROUND_ROBIN, LEAST = BalancingStrategy
TAGS = ("direct", "proxy-a", "proxy-b", "proxy-c", "", "block")


def balancer(
    strategy: BalancingStrategy = ROUND_ROBIN,
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


def kill(health: Health, *tags: str, now: float = 0.0) -> None:
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
def test_selectors_are_beginnings_of_tags(
    selector: tuple[str, ...], candidates: tuple[str, ...]
) -> None:
    assert balancer(selector=selector).candidates == candidates


def test_random_takes_each_about_as_often() -> None:
    choice = balancer(RANDOM)
    counts = Counter(choice.choose(0) for _ in range(3000))
    assert set(counts) == {"proxy-a", "proxy-b", "proxy-c"}
    assert all(850 < count < 1150 for count in counts.values())


def test_round_robin_takes_turns() -> None:
    choice = balancer()
    assert [choice.choose(0) for _ in range(5)] == [
        *("proxy-a", "proxy-b", "proxy-c", "proxy-a", "proxy-b")
    ]


def test_round_robin_keeps_its_order_around_the_dead() -> None:
    health = Health()
    choice = balancer(health=health)
    assert choice.choose(0) == "proxy-a"
    kill(health, "proxy-b")
    assert [choice.choose(1) for _ in range(4)] == ["proxy-c", "proxy-a", "proxy-c", "proxy-a"]


def test_least_connections_takes_the_idlest_and_turns_among_equals() -> None:
    choice = balancer(LEAST)
    load = {"proxy-a": 5, "proxy-b": 2, "proxy-c": 3, "direct": 0}
    assert choice.choose(0, connections=load) == "proxy-b"
    assert choice.choose(0, connections={"proxy-b": 1}) == "proxy-c"
    assert [choice.choose(0) for _ in range(3)] == ["proxy-a", "proxy-b", "proxy-c"]


@pytest.mark.parametrize("strategy", BalancingStrategy)
def test_what_was_tried_already_is_left_out(strategy: BalancingStrategy) -> None:
    choice = balancer(strategy)
    assert choice.choose(0, exclude={"proxy-a", "proxy-c"}) == "proxy-b"
    assert choice.choose(0, exclude={"proxy-a", "proxy-b", "proxy-c"}) is None


def test_nobody_is_there() -> None:
    assert balancer(selector=("none",)).choose(0) is None
    assert balancer(selector=("none",), fallback="direct").choose(0) == "direct"


# Who is dead --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", BalancingStrategy)
def test_a_dead_outbound_is_passed_over(strategy: BalancingStrategy) -> None:
    health = Health()
    choice = balancer(strategy, health=health)
    kill(health, "proxy-a", "proxy-c")
    assert {choice.choose(1) for _ in range(20)} == {"proxy-b"}


def test_the_fallback_is_for_when_all_are_dead() -> None:
    health = Health()
    choice = balancer(fallback="direct", health=health)
    kill(health, "proxy-a", "proxy-b")
    assert choice.choose(1) == "proxy-c"
    kill(health, "proxy-c")
    assert choice.choose(1) == "direct"
    assert choice.choose(1, exclude={"direct"}) in choice.candidates


def test_without_fallback_the_one_whose_rest_ends_first_is_tried() -> None:
    health = Health()
    choice = balancer(health=health)
    kill(health, "proxy-a", now=2)
    kill(health, "proxy-b", now=1)
    kill(health, "proxy-c", now=3)
    assert choice.choose(4) == "proxy-b"
    assert choice.choose(4, exclude={"proxy-b"}) == "proxy-a"


def test_failures_count_only_in_a_row() -> None:
    health = Health(HealthPolicy(failure_count=2))
    assert not health.report_failure("x", 0)
    assert not health.report_success("x")
    assert not health.report_failure("x", 1)
    assert not health.is_dead("x", 1)
    assert health.report_failure("x", 2)
    assert health.is_dead("x", 2)
    assert not health.is_dead("y", 2)
    assert health.report_success("x")
    assert not health.is_dead("x", 2)


def test_the_rest_grows_with_each_failed_trial_up_to_a_bound() -> None:
    health = Health(HealthPolicy(failure_count=1, first_pause=5, growth=2, longest_pause=30))
    now, pauses = 100.0, []
    for _ in range(5):
        health.report_failure("x", now)
        pauses.append(health.rests_until("x") - now)
        now = health.rests_until("x")
    assert pauses == [5, 10, 20, 30, 30]
    health.report_success("x")
    health.report_failure("x", now)
    assert health.rests_until("x") == now + 5


def test_many_connections_that_fail_at_once_are_one_failure() -> None:
    health = Health()
    begins = [health.report_failure("x", 0.1 * each) for each in range(30)]
    assert begins == [False, False, True] + [False] * 27
    assert health.rests_until("x") == pytest.approx(5.2)


def test_one_connection_at_a_time_tries_who_has_rested() -> None:
    health = Health()
    choice = balancer(health=health, selector=("proxy-a", "proxy-b"))
    kill(health, "proxy-a")
    assert {choice.choose(4.9) for _ in range(4)} == {"proxy-b"}
    chosen = [choice.choose(5.0) for _ in range(6)]
    assert chosen.count("proxy-a") == 1

    # The trial fails: it rests twice as long.
    health.report_failure("proxy-a", 6.0)
    assert {choice.choose(15.9) for _ in range(4)} == {"proxy-b"}
    assert "proxy-a" in [choice.choose(16.0) for _ in range(2)]

    # This one succeeds: it is back, for all.
    assert health.report_success("proxy-a")
    assert [choice.choose(16.1) for _ in range(4)].count("proxy-a") == 2


def test_a_trial_without_outcome_does_not_block_the_next_for_ever() -> None:
    health = Health(HealthPolicy(trial_time=7))
    choice = balancer(health=health, selector=("proxy-a",), fallback="direct")
    kill(health, "proxy-a")
    assert choice.choose(5.0) == "proxy-a"
    assert choice.choose(11.9) == "direct"
    assert choice.choose(12.0) == "proxy-a"


def test_who_is_due_for_a_probe() -> None:
    health = Health()
    kill(health, "proxy-a", now=0)
    kill(health, "proxy-b", now=1)
    assert health.due(TAGS, 4) == []
    assert health.due(TAGS, 5.5) == ["proxy-a"]
    assert health.due(TAGS, 6) == ["proxy-a", "proxy-b"]
    health.begin_trial("proxy-a", 6)
    health.begin_trial("proxy-c", 6)
    assert health.due(TAGS, 6) == ["proxy-b"]
    assert not health.is_dead("proxy-c", 6)


@pytest.mark.parametrize(
    "wrong", [{"failure_count": 0}, {"growth": 0.5}, {"first_pause": -1.0}, {"trial_time": -1.0}]
)
def test_a_policy_without_sense(wrong: dict[str, float]) -> None:
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


@given(EVENTS, st.sampled_from(BalancingStrategy), st.sampled_from(["", "direct"]))
def test_whatever_happens_somebody_is_chosen_and_the_living_first(
    events: list[tuple[str, str, float]], strategy: BalancingStrategy, fallback: str
) -> None:
    health = Health()
    choice = balancer(strategy, fallback=fallback, health=health)
    now = 0.0
    for what, tag, pause in events:
        now += pause
        match what:
            case "fail":
                health.report_failure(tag, now)
            case "succeed":
                health.report_success(tag)
                assert not health.is_dead(tag, now)
            case _:
                alive = [each for each in choice.candidates if not health.is_dead(each, now)]
                chosen = choice.choose(now)
                assert chosen in (alive or ([fallback] if fallback else choice.candidates))
        for each in choice.candidates:
            assert health.rests_until(each) <= now + 300
