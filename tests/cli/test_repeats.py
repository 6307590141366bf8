"""What repeats itself in the error log is summed up; everything else passes."""

import ast
import logging
import re

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
    assert sum(limiter.admits(refusal("192.0.2.1:1", each), 0.0) for each in reasons) == REASONS_MAX
    (text,) = texts(limiter, WINDOW)
    assert text == (
        "log.repeated source=many reason='further events and reasons' "
        f"repeated={1000 - REASONS_MAX}"
    )


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
        ("outbound.unhealthy tag=%s reason=%r", ("a", "b")),
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


def test_a_percent_sign_in_a_reason_is_no_placeholder() -> None:
    limiter = RepeatLimiter()
    for _ in range(FIRST_OF_SOURCE + 1):
        limiter.admits(refusal("192.0.2.1:1", "100 %s"), 0.0)
    assert texts(limiter, WINDOW) == ["vmess.refused source=192.0.2.1:1 reason='100 %s' repeated=1"]


def test_every_line_about_a_source_can_be_summed_up() -> None:
    """The form of a line is all that the limiter knows: no line of ours may have another one."""
    templates = {
        node.value
        for source in present_sources().values()
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"[a-z.]+ .*source=%", node.value)
    }
    assert len(templates) > 5
    for template in templates:
        limiter = RepeatLimiter()
        args = ["192.0.2.1:1", *("x" * (template.count("%") - 1))]
        admitted = [limiter.admits(record(template, *args), 0.0) for _ in range(100)]
        assert sum(admitted) == FIRST_OF_SOURCE, template
