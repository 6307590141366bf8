"""What repeats itself in the error log is summed up; everything else passes."""

import ast
import itertools
import logging
import re
from typing import Final

import pytest

from tests.architecture import parse, present_sources
from trio_vmess.cli.repeats import (
    FIRST_OF_REASON,
    FIRST_OF_SOURCE,
    REASONS_MAX,
    WINDOW,
    RepeatLimiter,
)

REFUSED = "vmess.refused source=%s reason=%r"


def record(template: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("trio_vmess.test", logging.WARNING, "", 0, template, args, None)


def refusal(source: str, reason: str = "unknown user") -> logging.LogRecord:
    return record(REFUSED, source, reason)


def texts(limiter: RepeatLimiter, now: float) -> list[str]:
    return [each.getMessage() for each in limiter.summaries(now)]


def test_the_first_lines_of_a_source_are_written_and_the_rest_is_counted() -> None:
    limiter = RepeatLimiter()
    admitted = [limiter.admits(refusal(f"192.0.2.1:{port}"), 10.0) for port in range(1000, 1100)]
    assert admitted == [True] * FIRST_OF_SOURCE + [False] * (100 - FIRST_OF_SOURCE)
    assert limiter.due == 10.0 + WINDOW
    assert texts(limiter, 10.0 + WINDOW - 0.1) == []
    assert texts(limiter, 10.0 + WINDOW) == [
        "vmess.refused source=192.0.2.1:1000 reason='unknown user' repeated=95"
    ]
    assert limiter.due is None


def test_reasons_and_sources_are_told_apart() -> None:
    limiter = RepeatLimiter()
    for _ in range(FIRST_OF_SOURCE):
        assert limiter.admits(refusal("192.0.2.1:1"), 0.0)
    assert not limiter.admits(refusal("192.0.2.1:1"), 0.0)
    assert limiter.admits(refusal("192.0.2.1:1", "a replay"), 0.0)
    assert limiter.admits(refusal("192.0.2.2:1"), 0.0)
    assert limiter.admits(record("socks.refused source=%s reason=%r", "192.0.2.1:1", "x"), 0.0)


def test_addresses_of_one_ipv6_network_are_one_source() -> None:
    limiter = RepeatLimiter()
    admitted = [limiter.admits(refusal(f"[2001:db8::{n:x}]:1"), 0.0) for n in range(50)]
    assert sum(admitted) == FIRST_OF_SOURCE
    assert limiter.admits(refusal("[2001:db8:0:1::1]:1"), 0.0)


def test_many_sources_are_bounded_and_one_line_says_so() -> None:
    limiter = RepeatLimiter()
    sources = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1" for n in range(20_000)]
    assert sum(limiter.admits(refusal(each), 0.0) for each in sources) == FIRST_OF_REASON
    assert texts(limiter, WINDOW) == [
        f"vmess.refused source=many reason='unknown user' repeated={20_000 - FIRST_OF_REASON}"
    ]


def test_many_reasons_are_bounded() -> None:
    limiter = RepeatLimiter()
    reasons = [f"version {n} is not known" for n in range(1000)]
    admitted = sum(limiter.admits(refusal("192.0.2.1:1", each), 0.0) for each in reasons)
    assert admitted == REASONS_MAX + FIRST_OF_SOURCE
    assert texts(limiter, WINDOW) == [
        f"vmess.refused source=192.0.2.1:1 reason='further reasons' repeated={1000 - admitted}"
    ]


def test_many_reasons_of_one_source_hide_no_other_source_and_no_other_event() -> None:
    limiter = RepeatLimiter()
    for number in range(1000):
        limiter.admits(refusal("192.0.2.1:1", f"path '/{number}'"), 0.0)
    assert limiter.admits(refusal("192.0.2.2:1", "path '/admin'"), 0.0)
    assert limiter.admits(record("socks.refused source=%s reason=%r", "192.0.2.1:1", "x"), 0.0)


def test_a_new_window_begins_afresh_and_loses_no_count() -> None:
    limiter = RepeatLimiter()
    for _ in range(7):
        limiter.admits(refusal("192.0.2.1:1"), 0.0)
    assert limiter.admits(refusal("192.0.2.1:2"), WINDOW + 1)
    assert texts(limiter, WINDOW + 1) == [
        "vmess.refused source=192.0.2.1:1 reason='unknown user' repeated=2"
    ]
    assert limiter.due == 2 * WINDOW + 1


@pytest.mark.parametrize(
    ("template", "args"),
    [
        ("node.stopping connections=%d grace=%s", (3, 5.0)),
        ("ports.failed inbound=%s port=%d reason=%r", ("a", 1, "b")),
        ("nothing to fill in", ()),
    ],
)
def test_other_lines_always_pass(template: str, args: tuple[object, ...]) -> None:
    limiter = RepeatLimiter()
    assert all(limiter.admits(record(template, *args), 0.0) for _ in range(1000))
    assert limiter.due is None


def test_lines_without_a_reason_are_limited_by_source() -> None:
    limiter = RepeatLimiter()
    bug = "listen.bug source=%s"
    assert sum(limiter.admits(record(bug, "192.0.2.1:1"), 0.0) for _ in range(9)) == FIRST_OF_SOURCE
    assert texts(limiter, WINDOW) == ["listen.bug source=192.0.2.1:1 repeated=4"]


UNREACHABLE = "dispatch.unreachable source=%s reason=%r user=%s %s detail=%s"


def unreachable(source: str, user: str, number: int = 0) -> logging.LogRecord:
    way = f"destination=tcp:198.51.100.{number}:443"
    return record(UNREACHABLE, source, "timed out", user, way, f"'detail {number}'")


def test_failed_dials_of_a_user_are_summed_up_whatever_the_destination() -> None:
    limiter = RepeatLimiter()
    lines = [unreachable(f"192.0.2.1:{n + 1}", "ann", n % 250) for n in range(10_000)]
    assert sum(limiter.admits(each, 0.0) for each in lines) == FIRST_OF_SOURCE
    assert texts(limiter, WINDOW) == [
        "dispatch.unreachable source=192.0.2.1:1 reason='timed out' user=ann repeated=9995"
    ]


def test_users_behind_one_address_are_told_apart() -> None:
    limiter = RepeatLimiter()
    for _ in range(10):
        limiter.admits(unreachable("192.0.2.1:1", "ann"), 0.0)
    assert limiter.admits(unreachable("192.0.2.1:1", "bob"), 0.0)
    assert limiter.admits(unreachable("192.0.2.2:1", "ann"), 0.0)
    assert not limiter.admits(unreachable("192.0.2.1:1", "ann"), 0.0)


def test_servers_are_told_apart_by_their_ports() -> None:
    limiter = RepeatLimiter()
    template = "vmess.server_unreachable server=%s reason=%r"
    for port, _ in itertools.product((1, 2), range(10)):
        limiter.admits(record(template, f"192.0.2.1:{port}", "timed out"), 0.0)
    assert texts(limiter, WINDOW) == [
        f"vmess.server_unreachable server=192.0.2.1:{port} reason='timed out' repeated=5"
        for port in (1, 2)
    ]


def test_a_line_with_too_few_arguments_passes() -> None:
    """The call is a bug, which the writer reports."""
    limiter = RepeatLimiter()
    assert all(limiter.admits(record(UNREACHABLE, "192.0.2.1:1"), 0.0) for _ in range(10))


def test_a_percent_sign_in_a_reason_is_no_placeholder() -> None:
    limiter = RepeatLimiter()
    for _ in range(FIRST_OF_SOURCE + 1):
        limiter.admits(refusal("192.0.2.1:1", "100 %s"), 0.0)
    assert texts(limiter, WINDOW) == ["vmess.refused source=192.0.2.1:1 reason='100 %s' repeated=1"]


PER_CONNECTION: Final = ("inbound", "transport", "dispatch", "outbound", "dns")
"""Rooms whose lines are about connections and queries: strangers can cause all of them."""

ACCESS_LOG: Final = {
    "accepted %s",
    "rejected %s reason=%s",
    "closed %s up=%d down=%d%s seconds=%.3f reason=%s",
}
"""Templates of the access log, which has a line for everything and no limiter."""


def templates(*rooms: str) -> set[str]:
    """Return what is logged at info and above, or handed to a function that logs it."""
    return {
        node.args[0].value
        for path, source in present_sources().items()
        if path.split("/")[1] in rooms
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Call)
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and re.fullmatch(
            r"(?:access_)?log\.(?:info|warning|error|exception)|_log_\w+", ast.unparse(node.func)
        )
    }


def test_every_line_of_a_connection_can_be_summed_up() -> None:
    """The form of a line is all that the limiter knows: no line of ours may have another one."""
    found = templates(*PER_CONNECTION)
    assert found > ACCESS_LOG
    assert len(found) > 25
    for template in found - ACCESS_LOG:
        limiter = RepeatLimiter()
        args = ["192.0.2.1:1", *("1" * (template.count("%") - 1))]
        lines = [record(template.replace("%d", "%s"), *args) for _ in range(100)]
        assert sum(limiter.admits(each, 0.0) for each in lines) == FIRST_OF_SOURCE, template


def test_no_line_has_its_user_or_reason_where_the_limiter_does_not_see_it() -> None:
    for template in templates(*PER_CONNECTION, "listen") - ACCESS_LOG:
        if not re.match(r"\S+ (?:source|server|tag|user)=%", template):
            continue
        (_, *fields) = re.findall(r"(\w+)=%", template)
        for name in {"reason", "user"} & set(fields):
            assert name in fields[:2], template
        assert fields[:2] != ["user", "reason"], template
