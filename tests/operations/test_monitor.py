"""Responses to control requests: counters and open connections."""

import pytest

from trio_vmess.core import Destination, Flow, User, parse_host
from trio_vmess.dispatch.connection import Connection
from trio_vmess.operations.counters import Directions, Statistics
from trio_vmess.operations.monitor import Monitor
from trio_vmess.relay import Meter

CERTIFICATES = [{"inbound": "in", "names": ["a.example"], "days": 3}]


def connection(since: float, **settings: str) -> Connection:
    flow = Flow(
        destination=Destination(host=parse_host("2001:db8::1"), port=443),
        source="192.0.2.1:5000",
        **settings,
    )
    return Connection(flow=flow, outbound_tag="out", since=since, meter=Meter(uplink=3, downlink=5))


def monitor(*running: Connection, counts: bool = True) -> Monitor:
    both = Directions(uplink=True, downlink=True)
    statistics = Statistics(users=lambda _level: both) if counts else None
    return Monitor(
        statistics=statistics,
        connections=set(running),
        clock=lambda: 110.0,
        since=100.0,
        certificates=CERTIFICATES,
    )


def test_counters() -> None:
    there = monitor(connection(101, user=User(email="ann@x")))
    expected = {"user>>>ann@x>>>traffic>>>downlink": 5, "user>>>ann@x>>>traffic>>>uplink": 3}
    for request in ({"command": "stats", "reset": True}, {"command": "stats"}):
        answer = there.answer(request)
        assert answer == {
            "counters": expected,
            "connections": 1,
            "seconds": 10.0,
            "certificates": CERTIFICATES,
        }
        expected = dict.fromkeys(expected, 0)


def test_connections_are_listed_oldest_first() -> None:
    there = monitor(connection(105), connection(101, user=User(email="ann@x"), inbound_tag="in"))
    answer = there.answer({"command": "connections"})
    assert isinstance(answer["connections"], list)
    first, second = answer["connections"]
    assert first == {
        "source": "192.0.2.1:5000",
        "user": "ann@x",
        "inbound": "in",
        "outbound": "out",
        "network": "tcp",
        "destination": "[2001:db8::1]:443",
        "seconds": 9.0,
        "uplink": 3,
        "downlink": 5,
    }
    assert second["seconds"] == 5.0


def test_statistics_that_are_not_enabled() -> None:
    with pytest.raises(ValueError, match="statistics are not enabled; set stats = true"):
        monitor(counts=False).answer({"command": "stats"})
    assert monitor(counts=False).answer({"command": "connections"}) == {"connections": []}


@pytest.mark.parametrize("request_", [{}, {"command": "stop"}, {"command": ["x" * 1000]}])
def test_unknown_commands(request_: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected the command stats or connections") as caught:
        monitor().answer(request_)
    assert len(str(caught.value)) < 200
