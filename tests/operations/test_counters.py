"""Counters: whose they are, what they are called, and that every byte is in them once."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from trio_vmess.config import PolicyLevelSettings, PolicySettings, SystemPolicySettings
from trio_vmess.core import Destination, Flow, User
from trio_vmess.dispatch.connection import Connection
from trio_vmess.operations.counters import Directions, Statistics, counter_name, parse_counter_name
from trio_vmess.relay import Meter

BOTH = Directions(uplink=True, downlink=True)


def connection(
    up: int = 0, down: int = 0, *, user: str = "ann@x", inbound: str = "in", level: int = 0
) -> Connection:
    flow = Flow(
        destination=Destination(host="example.com", port=1),
        user=User(email=user, level=level),
        inbound_tag=inbound,
    )
    return Connection(
        flow=flow, outbound_tag="out", since=0.0, meter=Meter(uplink=up, downlink=down)
    )


def statistics() -> Statistics:
    return Statistics(users=lambda _level: BOTH, inbounds=BOTH, outbounds=BOTH)


def test_the_names_are_v2rays() -> None:
    counters = statistics()
    counters.closed(connection(3, 5))
    assert counters.read(()) == {
        "inbound>>>in>>>traffic>>>downlink": 5,
        "inbound>>>in>>>traffic>>>uplink": 3,
        "outbound>>>out>>>traffic>>>downlink": 5,
        "outbound>>>out>>>traffic>>>uplink": 3,
        "user>>>ann@x>>>traffic>>>downlink": 5,
        "user>>>ann@x>>>traffic>>>uplink": 3,
    }


def test_without_email_or_tag_there_is_no_counter() -> None:
    counters = statistics()
    nameless = connection(3, 5, user="", inbound="")
    nameless.outbound_tag = ""
    counters.closed(nameless)
    assert counters.read(()) == {}


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_only_what_the_policy_selects_is_counted(up: bool, down: bool) -> None:
    some = Directions(uplink=up, downlink=down)
    counters = Statistics(users=lambda level: some if level == 1 else Directions())
    counters.closed(connection(1, 1, level=0))
    counters.closed(connection(3, 5, level=1))
    wanted = {"uplink": 3} if up else {}
    wanted |= {"downlink": 5} if down else {}
    assert counters.read(()) == {
        f"user>>>ann@x>>>traffic>>>{direction}": size for direction, size in wanted.items()
    }


def test_open_connections_are_included_and_counted_once() -> None:
    counters = Statistics(users=lambda _level: BOTH)
    name = counter_name(("user", "ann@x"), "uplink")
    counters.closed(connection(1))
    running = connection(10)
    assert counters.read([running])[name] == 11
    assert counters.read([running])[name] == 11
    running.meter.uplink += 100
    assert counters.read([running])[name] == 111
    counters.closed(running)
    assert counters.read([])[name] == 111


def test_a_reset_keeps_names_and_meters() -> None:
    counters = Statistics(users=lambda _level: BOTH)
    name = counter_name(("user", "ann@x"), "uplink")
    running = connection(10)
    counters.closed(connection(1))
    assert counters.read([running], reset=True)[name] == 11
    assert counters.read([running])[name] == 0
    running.meter.uplink += 5
    assert counters.read([running], reset=True)[name] == 5
    running.meter.uplink += 7
    counters.closed(running)
    assert counters.read([])[name] == 7
    assert running.meter.uplink == 22


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "carry", "close", "read", "reset"]), st.integers(0, 9)),
        max_size=50,
    )
)
def test_every_byte_is_reported_once(steps: list[tuple[str, int]]) -> None:
    counters, running = Statistics(users=lambda _level: BOTH), []
    name = counter_name(("user", "ann@x"), "downlink")
    carried = reported = 0
    for step, size in steps:
        if step == "open":
            running.append(connection())
        elif step == "carry" and running:
            running[size % len(running)].meter.downlink += size
            carried += size
        elif step == "close" and running:
            counters.closed(running.pop(size % len(running)))
        elif step == "read":
            assert reported + counters.read(running).get(name, 0) == carried
        elif step == "reset":
            reported += counters.read(running, reset=True).get(name, 0)
            assert reported == carried
    assert reported + counters.read(running).get(name, 0) == carried


@given(st.sampled_from(["user", "inbound", "outbound"]), st.text(), st.sampled_from(["uplink"]))
def test_names_can_be_parsed(kind: str, owner: str, direction: str) -> None:
    assert parse_counter_name(counter_name((kind, owner), direction)) == (kind, owner, direction)


@pytest.mark.parametrize("name", ["", "user", "user>>>ann", "user>>>ann>>>other>>>uplink"])
def test_names_of_another_form(name: str) -> None:
    assert parse_counter_name(name) is None


def test_the_policy_of_a_file_becomes_counters() -> None:
    from trio_vmess.node.endpoints import statistics_of

    counters = statistics_of(
        PolicySettings(
            levels={0: PolicyLevelSettings(stats_user_uplink=True), 7: PolicyLevelSettings()},
            system=SystemPolicySettings(stats_inbound_downlink=True, stats_outbound_uplink=True),
        )
    )
    counters.closed(connection(3, 5))
    counters.closed(connection(30, 50, user="bob@x", level=7))
    assert counters.read(()) == {
        "inbound>>>in>>>traffic>>>downlink": 55,
        "outbound>>>out>>>traffic>>>uplink": 33,
        "user>>>ann@x>>>traffic>>>uplink": 3,
    }
