"""Names with a fixed answer."""

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


def test_a_plain_name_means_itself_alone() -> None:
    fixed = hosts(a_example=ONE)
    assert fixed.find("a.example") == ONE
    assert fixed.find("b.a.example") is None
    assert fixed.find("aa.example") is None


def test_full_says_the_same() -> None:
    fixed = FixedHosts({"full:a.example": ONE}, match)
    assert fixed.find("a.example") == ONE
    assert fixed.find("b.a.example") is None


def test_other_entries_are_routings_and_the_first_wins() -> None:
    fixed = FixedHosts({"domain:b.example": TWO, "domain:example": THREE}, match)
    assert fixed.find("x.b.example") == TWO
    assert fixed.find("example") == THREE
    assert fixed.find("elsewhere") is None


def test_a_full_name_comes_before_the_others() -> None:
    fixed = FixedHosts({"domain:example": THREE, "a.example": ONE}, match)
    assert fixed.find("a.example") == ONE


def test_names_are_compared_in_lower_case() -> None:
    assert FixedHosts({"A.Example.": ONE}, match).find("a.example") == ONE
    assert plain_name("A.Example.") == "a.example"
