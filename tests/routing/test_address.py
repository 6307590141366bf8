import ipaddress
import re
from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.routing.dat import BOTH, Files
from trio_vmess.routing.address import (
    PRIVATE_NETWORKS,
    AddressIndex,
    AddressMatcher,
    parse_address_entry,
)
from trio_vmess.routing.geo import GeoFiles

GEO = GeoFiles(Files({**BOTH, "own.dat": BOTH["geoip.dat"]}).load)


@pytest.mark.parametrize(
    ("entry", "addresses", "others"),
    [
        ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.2", "10.1.2.4", "::a01:203"]),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
        ("10.1.2.3/8", ["10.200.0.1"], ["11.0.0.1"]),
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
        ("::/0", ["::", "2001:db8::1"], ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db9::"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.3.0"]),
        ("private", ["10.1.1.1", "192.168.0.1", "127.0.0.1", "::1", "fe80::1"], ["8.8.8.8"]),
        ("geoip:private", ["172.16.0.1", "fd00::1", "100.64.0.1"], ["172.32.0.1", "2001:db8::1"]),
        ("geoip:PRIVATE", ["172.16.0.1"], ["1.1.1.1"]),
        ("geoip:!private", ["1.1.1.1", "2606:4700::1111"], ["172.16.0.1", "::1"]),
        ("geoip:cn", ["1.0.1.1", "1.0.3.255", "2400:3200::1"], ["1.0.0.1", "1.0.4.0", "8.8.8.8"]),
        ("geoip:!cn", ["1.0.0.1", "8.8.8.8", "2001:4860::8888"], ["1.0.1.1", "2400:3200::1"]),
        ("ext:own.dat:us", ["8.8.8.8"], ["8.8.9.8"]),
        ("ext-ip:own.dat:!us", ["8.8.9.8"], ["8.8.8.8"]),
        ("ext:own.dat:private", ["10.0.0.1"], ["192.168.0.1"]),
    ],
)
def test_each_kind_of_entry(entry: str, addresses: list[str], others: list[str]) -> None:
    matcher = AddressMatcher([entry], GEO)
    read = ipaddress.ip_address
    assert [each for each in addresses if not matcher.matches(read(each))] == []
    assert [each for each in others if matcher.matches(read(each))] == []


def test_private_needs_no_file() -> None:
    files = Files()
    AddressMatcher(["private", "geoip:private", "geoip:!private"], GeoFiles(files.load))
    assert files.read == []


def test_a_matcher_matches_if_any_entry_does() -> None:
    matcher = AddressMatcher(["10.0.0.0/8", "geoip:us", "2001:db8::1"], GEO)
    for each in ("10.2.3.4", "8.8.8.8", "2001:db8::1"):
        assert matcher.matches(ipaddress.ip_address(each)), each
    assert not matcher.matches(ipaddress.ip_address("11.0.0.1"))
    assert not AddressMatcher([], GEO).matches(ipaddress.ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "",
            (
                "expected an IP address, a network such as 10.0.0.0/8, 'private', or a geoip: or "
                "ext: entry, found ''"
            ),
        ),
        ("example.com", "entry, found 'example.com'"),
        ("10.0.0.0/33", "entry, found '10.0.0.0/33'"),
        ("geoip:", "the name of a list is missing in 'geoip:'"),
        ("geoip:!", "the name of a list is missing in 'geoip:!'"),
        ("geoip:cm", "geoip.dat has no list 'cm' among its 4; a newer file may have it"),
        ("ext:own.dat:privat", "own.dat has no list 'privat' among its 4; did you mean 'private'"),
        ("ext:own.dat", "'ext:own.dat' does not have the form ext:file:list"),
        ("ext-ip:lost.dat:cn", "lost.dat is nowhere; install it"),
    ],
)
def test_a_wrong_entry_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_address_entry(entry, GEO)


def test_private_networks_match_from_end_to_end() -> None:
    matcher = AddressMatcher(["private"], GEO)
    for text in PRIVATE_NETWORKS:
        network = ipaddress.ip_network(text)
        for address in (network.network_address, network.broadcast_address):
            assert matcher.matches(address), address


NETWORKS = st.one_of(
    st.builds(
        lambda address, prefix: f"{address}/{prefix}",
        st.ip_addresses(v=4, network="10.0.0.0/28"),
        st.integers(26, 32),
    ),
    st.builds(
        lambda address, prefix: f"{address}/{prefix}",
        st.ip_addresses(v=6, network="2001:db8::/124"),
        st.integers(120, 128),
    ),
)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/27"), st.ip_addresses(v=6, network="2001:db8::/123")
)


@given(
    st.lists(st.lists(NETWORKS, max_size=6), max_size=5).map(
        lambda lists: {1 << index: networks for index, networks in enumerate(lists)}
    ),
    st.lists(ADDRESSES, min_size=1, max_size=10),
)
def test_the_index_agrees_with_checking_each_network(
    marked: Mapping[int, Sequence[str]],
    addresses: Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    index = AddressIndex(
        {
            mark: [parse_address_entry(each, GEO) for each in networks]
            for mark, networks in marked.items()
        }
    )
    for address in addresses:
        assert index.find(address) == sum(
            mark
            for mark, networks in marked.items()
            if any(address in ipaddress.ip_network(each, strict=False) for each in networks)
        )
