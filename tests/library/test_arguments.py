"""What callers may write for a server and a destination."""

import ipaddress

import attrs
import pytest

from trio_vmess.config import ShareLink, format_share_link
from trio_vmess.core import Destination
from trio_vmess.core.vmess import Account, parse_user_id
from trio_vmess.library.arguments import DestinationLike, Server, read_destination, read_server

UUID = "b831381d-6324-4d53-ad4f-8cda48b30811"
ACCOUNT = Account(user_id=parse_user_id(UUID))
V4, V6 = ipaddress.IPv4Address("192.0.2.1"), ipaddress.IPv6Address("2001:db8::1")


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("a.example:443", Destination(host="a.example", port=443)),
        ("192.0.2.1:443", Destination(host=V4, port=443)),
        ("[2001:db8::1]:443", Destination(host=V6, port=443)),
        (("a.example", 443), Destination(host="a.example", port=443)),
        (("192.0.2.1", 443), Destination(host=V4, port=443)),
        (("2001:db8::1", 443), Destination(host=V6, port=443)),
        ((V6, 443), Destination(host=V6, port=443)),
        (("bücher.example", 443), Destination(host="xn--bcher-kva.example", port=443)),
        (Destination(host=V4, port=443), Destination(host=V4, port=443)),
    ],
)
def test_each_form_of_a_destination(destination: DestinationLike, expected: Destination) -> None:
    assert read_destination(destination) == expected


def test_host_port_and_account() -> None:
    assert read_server(("192.0.2.1", 443), ACCOUNT, None) == Server(
        host=V4, port=443, account=ACCOUNT, security="auto"
    )


def test_a_share_link_says_all_of_it() -> None:
    link = ShareLink(address="a.example", port=443, uuid=UUID, alter_id=4, name="home")
    account = attrs.evolve(ACCOUNT, alter_id_count=4)
    assert read_server(format_share_link(link), None, None) == Server(
        host="a.example", port=443, account=account, security="auto"
    )


def test_the_security_of_the_call_goes_before_that_of_the_link() -> None:
    link = f"vmess://{UUID}@a.example:443?encryption=chacha20-poly1305"
    assert read_server(link, None, None).security == "chacha20-poly1305"
    assert read_server(link, None, "none").security == "none"
