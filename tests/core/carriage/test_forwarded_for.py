"""X-Forwarded-For: the address that nobody but our own proxies can have written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.core import IPAddress
from trio_vmess.core.carriage import find_client

CLIENT = ipaddress.ip_address("203.0.113.7")
CDN = ipaddress.ip_network("198.51.100.0/24")


def is_ours(address: IPAddress) -> bool:
    return address.is_loopback or address in CDN


@pytest.mark.parametrize(
    "values",
    [
        ["203.0.113.7"],
        [" 203.0.113.7 "],
        ["203.0.113.7:4711"],
        ["::ffff:203.0.113.7"],
        ["203.0.113.7", "127.0.0.1"],
        ["203.0.113.7,127.0.0.1, ::1"],
        ["10.9.8.7, 203.0.113.7"],
        ["unknown, 203.0.113.7"],
        ["8.8.8.8", "203.0.113.7, 127.0.0.1"],
    ],
)
def test_the_last_address_that_is_not_a_proxy_counts(values: list[str]) -> None:
    assert find_client(values) == CLIENT


def test_proxies_of_a_cdn_are_read_over_where_they_are_trusted() -> None:
    values = ["1.1.1.1, 203.0.113.7, 198.51.100.1, 127.0.0.1"]
    assert find_client(values) == ipaddress.ip_address("198.51.100.1")
    assert find_client(values, is_trusted=is_ours) == CLIENT


def test_ipv6_may_be_in_brackets() -> None:
    for text in ("2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:443"):
        assert find_client([text]) == ipaddress.ip_address("2001:db8::7")


def test_where_all_are_trusted_the_first_counts() -> None:
    assert find_client(["127.0.0.2, 127.0.0.1"]) == ipaddress.ip_address("127.0.0.2")


@pytest.mark.parametrize(
    "values", [[], [""], ["unknown"], ["203.0.113.7, unknown"], ["a.example"], ["203.0.113.7,"]]
)
def test_nobody_is_named_where_a_proxy_does_not_tell(values: list[str]) -> None:
    assert find_client(values) is None


@given(st.lists(st.text(max_size=40), max_size=3), st.ip_addresses())
def test_what_a_client_claims_changes_nothing(claims: list[str], address: IPAddress) -> None:
    alone = find_client([str(address)], is_trusted=lambda _: False)
    assert find_client([*claims, str(address)], is_trusted=lambda _: False) == alone


@given(st.lists(st.text(max_size=60), max_size=3))
def test_no_text_is_an_error(values: list[str]) -> None:
    find_client(values)
