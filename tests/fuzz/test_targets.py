"""The fuzz targets hold on mutated seeds, and can fail."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import configurations
from tests.fuzz.engine import Target, load_target, mutated, target_names
from trio_vmess.config.tree import Member, Members, Value
from trio_vmess.core import Destination
from trio_vmess.core.socks import Command, SocksClient
from trio_vmess.errors import ConfigError, ConfigProblem

TESTED_ELSEWHERE = {"client", "server", "http", "sniff", "socks"}
"""Whose own tests do this, beside those of what they fuzz."""

# Some import tests, which define properties: hypothesis forbids that inside of another one.
TARGETS = {name: load_target(name) for name in set(target_names()) - TESTED_ELSEWHERE}


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(st.data())
def test_a_target_holds_on_mutated_seeds(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    target.check(data.draw(mutated(target.SEEDS)))


class _LeakyClient(SocksClient):
    """Loses a byte of the tunnel."""

    def __init__(self) -> None:
        super().__init__(
            command=Command.CONNECT, destination=Destination(host="example.com", port=443)
        )

    @property
    def trailing_data(self) -> bytes:
        return super().trailing_data[1:]


class _Nothing:
    def matches(self, name: str) -> bool:
        return False


NOWHERE = Value(Members((Member("key", Value(1)),)))


def _returning(value: object) -> Callable[..., object]:
    return lambda *_arguments, **_options: value


FAULTS = [
    ("address", "parse_host", _returning("another.example"), b"example.com", "another host"),
    ("address", "parse_endpoint", _returning(("a", 1 << 16)), b"a:1", "be a port"),
    (
        "parent_proxy",
        "CLIENTS",
        {b"s": _LeakyClient},
        b"s\x05\x00\x05\x00\x00\x01" + bytes(6) + b"tunnel",
        "the split matters",
    ),
    ("config_json", "parse_jsonc", _returning(Value(2)), b"1", "2 instead of 1"),
    ("config_toml", "parse_toml", _returning(NOWHERE), b"key = 1", "'key' was not found"),
    ("share_link", "format_share_link", _returning("vmess://y@a.b:1"), b"vmess://x@a.b:1", "trip"),
    ("decode", "format_text", _returning(()), None, "no line for"),
    ("dns", "_VERSIONS", {b"4": 6}, None, "nobody asked for these addresses"),
    ("dns", "_ID", 1, None, "not a reply to this query"),
    ("geo", "find_entry", _returning(None), None, "cannot be found"),
    ("domain", "DomainMatcher", _returning(_Nothing()), None, "instead of 0"),
]


@pytest.mark.parametrize(
    ("name", "attribute", "fault", "data", "message"),
    [pytest.param(*fault, id=f"{fault[0]}-{fault[1]}") for fault in FAULTS],
)
def test_a_fault_is_noticed(
    name: str,
    attribute: str,
    fault: object,
    data: bytes | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = load_target(name)
    inputs = target.SEEDS if data is None else [data]
    _check_all(target, inputs)
    monkeypatch.setattr(target, attribute, fault)
    with pytest.raises((ValueError, TypeError), match=message):
        _check_all(target, inputs)


def _check_all(target: Target, inputs: Sequence[bytes]) -> None:
    for data in inputs:
        target.check(data)


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [(3, 1, "no such line"), (2, 4, "no such column"), (0, 1, "no such line"), (1, None, "half")],
)
def test_a_problem_at_a_place_that_is_not_there_is_noticed(
    line: int, column: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(text: str, **_options: object) -> object:
        raise ConfigError(
            ConfigProblem(where="", message="wrong", file="file", line=line, column=column)
        )

    monkeypatch.setattr(configurations, "parse_config", parse)
    with pytest.raises(ValueError, match=message):
        configurations.check_config("{\n} ", "json")
