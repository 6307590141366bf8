"""Which family comes first, for each address that the kernel would send from."""

import ipaddress

import pytest

from tests.kit.name_server import addresses
from tests.kit.names import has_ipv6_loopback
from trio_vmess.core import IPAddress
from trio_vmess.transport import address_order, by_preference


@pytest.mark.parametrize(
    ("ipv6", "source", "comes_first"),
    [
        ("2001:db8::1", "2001:db8::99", True),
        ("2001:db8::1", None, False),
        ("2001:db8::1", "fd00::99", False),
        ("2001:db8::1", "fe80::99", False),
        ("fd00::1", "fd00::99", False),
        ("2002:c000:201::1", "2002:c000:202::1", False),
        ("::1", "::1", True),
    ],
)
def test_families(
    ipv6: str, source: str | None, comes_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source_towards(address: IPAddress) -> IPAddress | None:
        if address.version == 4:
            return ipaddress.ip_address("192.0.2.99")
        return None if source is None else ipaddress.ip_address(source)

    monkeypatch.setattr(address_order, "source_towards", source_towards)
    first, second, third = addresses("192.0.2.2", ipv6, "192.0.2.1")
    expected = [second, first, third] if comes_first else [first, third, second]
    assert by_preference([first, second, third]) == expected


def test_without_a_way_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        address_order,
        "source_towards",
        lambda address: None if address.version == 4 else ipaddress.ip_address("fd00::9"),
    )
    both = addresses("192.0.2.1", "2001:db8::1")
    assert by_preference(both) == both[::-1]


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def source_towards(_address: IPAddress) -> IPAddress | None:
        raise OSError("Address family not supported")

    monkeypatch.setattr(address_order, "source_towards", source_towards)
    both = addresses("2001:db8::1", "192.0.2.1")
    assert by_preference(both) == both[::-1]


def test_one_family_keeps_its_order_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_order, "source_towards", None)
    for texts in (["192.0.2.2", "192.0.2.1"], ["2001:db8::2", "2001:db8::1"], []):
        assert by_preference(addresses(*texts)) == addresses(*texts)


def test_loopback_of_this_machine() -> None:
    if not has_ipv6_loopback():
        pytest.skip("there is no ::1 here")
    assert by_preference(addresses("127.0.0.1", "::1")) == addresses("::1", "127.0.0.1")
