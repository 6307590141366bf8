"""Tables of counters and connections."""

import pytest

from trio_vmess.cli.tables import (
    format_certificates,
    format_connections,
    format_counters,
    format_size,
)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_sizes_have_a_unit(size: int, shown: str) -> None:
    assert format_size(size) == shown


def test_counters_are_a_table_of_both_directions() -> None:
    answer = {
        "counters": {
            "outbound>>>direct>>>traffic>>>uplink": 517,
            "inbound>>>socks-in>>>traffic>>>downlink": 4096,
            "user>>>ann@example.com>>>traffic>>>uplink": 1 << 20,
            "user>>>ann@example.com>>>traffic>>>downlink": 3,
            "something else": 1,
        },
        "connections": 2,
        "seconds": 12.5,
    }
    assert format_counters(answer).splitlines() == [
        "                            uplink  downlink",
        "user      ann@example.com  1.0 MiB       3 B",
        "inbound   socks-in               -   4.0 KiB",
        "outbound  direct             517 B         -",
        "2 connections, up 12.5 s",
    ]


def test_without_counters_the_policy_is_named() -> None:
    text = format_counters({"counters": {}, "connections": 0, "seconds": 1})
    assert text.splitlines() == [
        (
            "no counters: 'policy' selects what is counted, for users with an email and for "
            "inbounds and outbounds with a tag"
        ),
        "0 connections, up 1 s",
    ]


@pytest.mark.parametrize(("count", "words"), [(0, "0 connections"), (1, "1 connection")])
def test_one_connection_is_singular(count: int, words: str) -> None:
    answer = {"counters": {}, "connections": count, "seconds": 1}
    assert format_counters(answer).endswith(f"\n{words}, up 1 s")


@pytest.mark.parametrize(
    ("days", "words"),
    [(63, "63 days left"), (1, "1 day left"), (0, "0 days left"), (-1, "expired")],
)
def test_certificates_have_the_days_that_are_left(days: int, words: str) -> None:
    each = {
        "inbound": "in",
        "names": ["a.example", "192.0.2.1"],
        "issuer": "CN=R3",
        "validity": "2026-01-01 to 2026-04-01",
        "days": days,
    }
    line = (
        "certificate of in: a.example, 192.0.2.1, valid 2026-01-01 to 2026-04-01, "
        f"{words}, issued by CN=R3"
    )
    assert format_certificates([each]) == [line]
    answer = {"counters": {}, "connections": 0, "seconds": 1, "certificates": [each]}
    assert format_counters(answer).splitlines()[1:] == [line, "0 connections, up 1 s"]


def test_certificates_without_names_or_control_characters() -> None:
    (line,) = format_certificates([{"inbound": "", "names": [], "issuer": "\x1b[2J", "days": None}])
    assert line.isprintable()
    assert line.startswith("certificate of an inbound without a tag: no name, ")


def test_connections_are_a_table_without_control_characters() -> None:
    answer = {
        "connections": [
            {
                "source": "127.0.0.1:5000",
                "user": "",
                "inbound": "socks-in",
                "outbound": "proxy",
                "network": "tcp",
                "destination": "evil\x1b[2J:443",
                "seconds": 1.5,
                "uplink": 10,
                "downlink": 2048,
            }
        ]
    }
    head, row = format_connections(answer).splitlines()
    assert head.split() == [
        *("source", "user", "inbound", "outbound", "network", "destination"),
        *("time", "uplink", "downlink"),
    ]
    assert row.isprintable()
    assert row.split()[:5] == ["127.0.0.1:5000", "-", "socks-in", "proxy", "tcp"]
    assert row.endswith("1.5 s    10 B   2.0 KiB")


@pytest.mark.parametrize("answer", [{}, {"counters": 3}, {"connections": {}}])
def test_a_malformed_response_is_refused(answer: dict[str, object]) -> None:
    for shown in (format_counters, format_connections):
        with pytest.raises(ValueError, match="the node's response has no"):
            shown(answer)
