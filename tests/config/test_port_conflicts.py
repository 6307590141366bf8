"""Inbounds that would listen where another one listens, in files of any length."""

import sys
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.config import (
    Config,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    InboundSettings,
    OutboundSettings,
    PortRange,
    UnixSocket,
    validate,
)
from trio_vmess.config.port_conflicts import find_port_conflicts
from trio_vmess.core import IPAddress, Network
from trio_vmess.errors import ConfigError

TCP, UDP = (Network.TCP,), (Network.UDP,)
BOTH = (*TCP, *UDP)
ADDRESSES = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "/run/a", "/run/b")


def inbound(listen: str, first: int, last: int, networks: tuple[Network, ...]) -> InboundSettings:
    return InboundSettings(
        protocol=DokodemoInboundSettings(
            target_address="a.example", target_port=1, networks=networks
        ),
        listen=UnixSocket(listen) if listen.startswith("/") else ip_address(listen),
        port=PortRange(first, last),
    )


def conflict(one: InboundSettings, other: InboundSettings) -> bool:
    """Compare two inbounds, as plainly as it can be said."""
    if not set(one.networks) & set(other.networks):
        return False
    if isinstance(one.listen, UnixSocket) or isinstance(other.listen, UnixSocket):
        return one.listen == other.listen
    here: tuple[IPAddress, IPAddress] = (one.listen, other.listen)
    same = here[0].version == here[1].version and (
        here[0] == here[1] or any(each.is_unspecified for each in here)
    )
    return same and one.port.overlaps(other.port)


PORTS = st.tuples(st.integers(0, 12), st.integers(0, 5)).map(
    lambda pair: (pair[0], pair[0] + pair[1] if pair[0] else 0)
)
INBOUNDS = st.builds(
    lambda listen, ports, networks: inbound(listen, *ports, networks),
    st.sampled_from(ADDRESSES),
    PORTS,
    st.sampled_from([TCP, UDP, BOTH, (*UDP, *TCP)]),
)


@given(st.lists(INBOUNDS, max_size=12))
def test_each_conflict_is_found_with_the_first_that_it_is_with(
    inbounds: list[InboundSettings],
) -> None:
    expected = {
        index: others[0]
        for index, each in enumerate(inbounds)
        if (others := [at for at in range(index) if conflict(each, inbounds[at])])
    }
    found = {}
    for location, message in find_port_conflicts(inbounds):
        index = int(location.where.removeprefix("inbounds[").partition("]")[0])
        first = int(message.partition("conflicts with 'inbounds[")[2].partition("]")[0])
        found[index] = first
    assert found == expected


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            ("0.0.0.0", 80, 90, BOTH),
            ("127.0.0.1", 85, 85, UDP),
            "udp 127.0.0.1 port 85 conflicts with 'inbounds[0].port'; choose another port",
        ),
        (
            ("/run/a", 0, 0, TCP),
            ("/run/a", 0, 0, TCP),
            "/run/a conflicts with 'inbounds[0].listen'; choose another path",
        ),
    ],
)
def test_the_message_says_what_to_change(
    one: tuple[str, int, int, tuple[Network, ...]],
    other: tuple[str, int, int, tuple[Network, ...]],
    message: str,
) -> None:
    outbounds = (OutboundSettings(protocol=FreedomOutboundSettings()),)
    with pytest.raises(ConfigError) as caught:
        validate(Config(inbounds=(inbound(*one), inbound(*other)), outbounds=outbounds))
    assert [each.message for each in caught.value.problems] == [message]


def count_calls(inbound_count: int) -> int:
    """Return how many calls of Python and C functions the checks of so many inbounds take."""
    config = Config(
        inbounds=tuple(
            inbound(f"127.0.{index % 2}.1", 1024 + index, 1024 + index, BOTH)
            for index in range(inbound_count)
        ),
        outbounds=(OutboundSettings(protocol=FreedomOutboundSettings(), tag="direct"),),
    )
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        validate(config)
    finally:
        sys.setprofile(before)
    return count


def test_the_cost_grows_with_the_number_of_inbounds_and_not_faster() -> None:
    assert count_calls(4000) < 2.2 * count_calls(2000)
