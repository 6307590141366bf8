"""Conditions on the requests of HTTP inbounds: which are read, and what they are fulfilled by."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core import Destination
from trio_vmess.routing import Router, RoutingContext, Rule, parse_attributes

REQUEST = {
    ":method": "GET",
    ":path": "/test/a page",
    "accept": "text/html, */*",
    "user-agent": "Mozilla/5.0",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("attrs[':method'] == 'GET'", True),
        ('attrs[":method"] == "POST"', False),
        ("attrs[':method'] != 'POST'", True),
        ("attrs[':method'] in ['GET', 'HEAD']", True),
        ("attrs[':method'] not in ('GET', 'HEAD')", False),
        ("attrs[':path'].startswith('/test')", True),
        ("attrs[':path'].endswith('.html')", False),
        ("'text/html' in attrs['accept']", True),
        ("'cookie' in attrs", False),
        ("'cookie' not in attrs", True),
        ("attrs.get('cookie', '') == ''", True),
        ("attrs.get('cookie')", False),
        ("attrs['user-agent'].lower().startswith('mozilla')", True),
        ("not attrs[':path'].startswith('/test')", False),
        ("attrs[':method'] == 'GET' and attrs[':path'] == '/'", False),
        ("(attrs[':method'] == 'PUT' or 'accept' in attrs) and True", True),
        # Something that is not there makes all of it false, unless it is not needed.
        ("attrs['cookie'] == 'x'", False),
        ("attrs['cookie'] != 'x'", False),
        ("not attrs['cookie'] == 'x'", False),
        ("'accept' in attrs or attrs['cookie'] == 'x'", True),
        ("attrs.get('cookie').startswith('x')", False),
        ("'x' in attrs.get('cookie')", False),
        (" attrs[':method'] == 'GET'\n", True),
    ],
)
def test_a_condition(text: str, holds: bool) -> None:
    assert parse_attributes(text)(REQUEST) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attrs[':method'] = 'GET'", "is not a valid expression"),
        ("", "is not a valid expression"),
        ("attrs[", "is not a valid expression"),
        ("attrs", "'attrs' is not supported in 'attrs'"),
        ("method == 'GET'", "'method' is not supported"),
        ("attrs[0] == 'GET'", r"'attrs\[0\]' is not supported"),
        ("len(attrs) > 3", "'len"),
        ("attrs['a'] > 'b'", "not supported"),
        ("1 < 2 < 3", "not supported"),
        ("attrs['a'].format('b')", "not supported"),
        ("attrs['a'].startswith('b', 1)", "not supported"),
        ("attrs.__class__", "not supported"),
        ("attrs['a'].__len__()", "not supported"),
        ("__import__('os').system('true')", "not supported"),
        ("(lambda: True)()", "not supported"),
        ("[x for x in attrs]", "not supported"),
        ("'" + "x" * 5000 + "' in attrs", "more than 4096 characters"),
    ],
)
def test_what_is_not_read_is_refused_with_what_is(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_attributes(text)


def test_deep_nesting_is_refused_or_read() -> None:
    for text in ("(" * 900 + "True" + ")" * 900, "not " * 1000 + "True"):
        with contextlib.suppress(ValueError):
            assert parse_attributes(text)({}) is True


@given(st.text(alphabet="atrs[]'\"()=!. innotdge:/,", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_attributes(text)(REQUEST) in (True, False)


def test_a_rule_needs_a_request_to_match() -> None:
    router = Router(
        [
            Rule(outbound_tag="posts", attributes="attrs[':method'] == 'POST'", ports=((80, 80),)),
            Rule(outbound_tag="other", attributes="'accept' in attrs"),
        ],
        load=lambda _name: b"",
    )

    def decide(attributes: dict[str, str] | None, port: int = 80) -> str:
        destination = Destination(host="a.example", port=port)
        decision = router.decide(RoutingContext(destination=destination, attributes=attributes))
        assert hasattr(decision, "outbound_tag")
        return decision.outbound_tag

    assert decide(None) == ""
    assert decide({}) == ""
    assert decide(REQUEST) == "other"
    assert decide(REQUEST | {":method": "POST"}) == "posts"
    assert decide(REQUEST | {":method": "POST"}, port=81) == "other"
    verdicts = router.explain(
        RoutingContext(destination=Destination(host="a", port=80), attributes=REQUEST)
    ).verdicts
    assert [(check.field, check.holds, check.compared) for check in verdicts[1].checks] == [
        ("attributes", True, "GET /test/a page")
    ]
