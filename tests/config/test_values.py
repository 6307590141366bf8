from ipaddress import ip_address

import pytest

from trio_vmess.config import PortRange, values
from trio_vmess.config.tree import Foreign, Members, Value, describe, quote


@pytest.mark.parametrize(
    ("word", "words", "meant"),
    [
        ("alterid", ["alterId", "email"], "alterId"),
        ("alter-id", ["alter_id", "email"], "alter_id"),
        ("prot", ["port", "tag"], "port"),
        ("wholly", ["port", "tag"], None),
        ("x", [], None),
    ],
)
def test_nearest_finds_misspellings(word, words, meant):
    assert values.nearest(word, words) == meant


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "the number 5"),
        (1.5, "the number 1.5"),
        ("a", "'a'"),
        ("a" * 61, "'" + "a" * 60 + "…'"),
        (Foreign("a date"), "a date"),
        (Members(()), "an object"),
        ((), "a list"),
    ],
)
def test_describe_names_the_value(value, said):
    assert describe(Value(value)) == said


def test_secrets_are_shortened():
    assert quote("12345678", secret=True) == "'12345678'"
    assert quote("123456789", secret=True) == "'12345678…'"
    assert describe(Value(123456789), secret=True) == "a number"


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("192.0.2.1", ip_address("192.0.2.1")),
        ("[2001:db8::1]", ip_address("2001:db8::1")),
        ("::ffff:192.0.2.1", ip_address("192.0.2.1")),
        ("example.com", "example.com"),
        ("_dns.example", "_dns.example"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_hosts(spelled, read):
    assert values.host(Value(spelled)) == read


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("", "not empty"),
        ("a b", "neither"),
        ("a/b", "neither"),
        ("http://a", "neither"),
        ("[a]", "neither"),
        ("é:", "neither"),
        ("x" * 300, "neither"),
        ("a:80", "contains a port"),
        ("1.2.3.4:5", "contains a port"),
    ],
)
def test_a_wrong_host_is_refused(spelled, message):
    with pytest.raises(ValueError, match=message):
        values.host(Value(spelled))


@pytest.mark.parametrize(
    "value", ["", "65536", "1-65536", "-1", "1-", "a", "\u0661", "1-2-3", None, ()]
)
def test_a_wrong_port_is_refused(value):
    with pytest.raises(ValueError, match="expected a port from 1 to 65535"):
        values.port_range(Value(value), {})


def test_a_port_from_the_environment():
    assert values.port_range(Value("env:A"), {"A": " 5-6\n"}) == PortRange(5, 6)
    with pytest.raises(ValueError, match=r"found 'x' \(from 'env:A'\)"):
        values.port_range(Value("env:A"), {"A": "x"})


@pytest.mark.parametrize(("value", "read"), [(0, 0.0), (1.5, 1.5), (300, 300.0)])
def test_seconds(value, read):
    assert values.seconds(Value(value)) == read


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "5"])
def test_a_wrong_duration_is_refused(value):
    with pytest.raises(ValueError, match="number of seconds"):
        values.seconds(Value(value))


def test_a_user_id_may_be_a_name():
    assert values.user_id(Value("example")).hex() == "feb54431301b52bba6dde1e93e81bb9e"
    assert values.user_id(Value("deadbeef"))


@pytest.mark.parametrize("spelled", ["b831381d-6324-4d53-ad4f", "0" * 30])
def test_an_incomplete_uuid_is_not_taken_for_a_name(spelled):
    with pytest.raises(ValueError, match="looks like a UUID") as caught:
        values.user_id(Value(spelled))
    assert spelled not in str(caught.value)
