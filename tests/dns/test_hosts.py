"""Names with fixed addresses."""

from collections.abc import Callable, Sequence

from tests.kit.name_server import addresses
from trio_vmess.core import Host
from trio_vmess.dns.hosts import FixedHosts, plain_name

ONE, TWO, THREE = ([each] for each in addresses("192.0.2.1", "192.0.2.2", "2001:db8::3"))


def match(entries: Sequence[str]) -> Callable[[str], bool]:
    """Stand in for routing: `domain:` alone is understood."""
    (entry,) = entries
    kind, _, value = entry.partition(":")
    assert kind == "domain"
    return lambda name: name == value or name.endswith("." + value)


def hosts(**entries: Sequence[Host]) -> FixedHosts:
    return FixedHosts({key.replace("_", "."): value for key, value in entries.items()}, match)


def test_a_plain_entry_matches_no_subdomain() -> None:
    fixed = hosts(a_example=ONE)
    assert fixed.find("a.example") == ONE
    assert fixed.find("b.a.example") is None
    assert fixed.find("aa.example") is None


def test_an_entry_with_full_matches_no_subdomain() -> None:
    fixed = FixedHosts({"full:a.example": ONE}, match)
    assert fixed.find("a.example") == ONE
    assert fixed.find("b.a.example") is None


def test_the_first_matching_entry_with_a_prefix_wins() -> None:
    fixed = FixedHosts({"domain:b.example": TWO, "domain:example": THREE}, match)
    assert fixed.find("x.b.example") == TWO
    assert fixed.find("example") == THREE
    assert fixed.find("elsewhere") is None


def test_an_exact_entry_comes_before_those_with_a_prefix() -> None:
    fixed = FixedHosts({"domain:example": THREE, "a.example": ONE}, match)
    assert fixed.find("a.example") == ONE


def test_case_and_a_trailing_dot_make_no_difference() -> None:
    assert FixedHosts({"A.Example.": ONE}, match).find("a.example") == ONE
    assert plain_name("A.Example.") == "a.example"
