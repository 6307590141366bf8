"""What callers may write for a server and a destination."""

import ipaddress
import uuid

import attrs
import pytest

from trio_vmess.config import (
    PLAIN_STREAM,
    FreedomOutboundSettings,
    MuxSettings,
    OutboundProtocolSettings,
    OutboundSettings,
    OutboundUserSettings,
    SecurityName,
    ShareLink,
    VMessOutboundSettings,
    VMessServerSettings,
    WebSocketSettings,
    format_share_link,
    parse_config,
)
from trio_vmess.core import Destination
from trio_vmess.core.vmess import DOCUMENT, SECURITY_WORDS, V2RAY, Account, parse_user_id
from trio_vmess.opening import DestinationLike, Server, read_destination, read_server

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
    account = attrs.evolve(ACCOUNT, alter_id_count=4)
    server = read_server(("192.0.2.1", 443), account, "none", DOCUMENT)
    assert (server.host, server.port) == (V4, 443)
    assert server.user == OutboundUserSettings(
        id=ACCOUNT.user_id, alter_id=4, security=SecurityName.NONE
    )
    assert server.vmess.dialect is DOCUMENT
    assert server.outbound.stream == PLAIN_STREAM


@pytest.mark.parametrize("account", [ACCOUNT, UUID, uuid.UUID(UUID), UUID.replace("-", "").upper()])
@pytest.mark.parametrize("server", [("192.0.2.1", 443), (V4, 443), "192.0.2.1:443"])
def test_each_form_of_a_server_and_of_an_account(server: object, account: object) -> None:
    read = read_server(server, account, None, None)
    assert (read.host, read.port, read.user.id) == (V4, 443, ACCOUNT.user_id)


def test_a_share_link_says_all_of_it() -> None:
    link = ShareLink(
        address="a.example", port=443, uuid=UUID, alter_id=4, name="home", network="ws", tls="tls"
    )
    server = read_server(format_share_link(link), None, None, None)
    assert (server.host, server.port) == ("a.example", 443)
    assert server.user == OutboundUserSettings(id=ACCOUNT.user_id, alter_id=4)
    assert server.vmess.dialect is V2RAY
    assert isinstance(server.outbound.stream.carrier, WebSocketSettings)
    assert server.outbound.stream.tls is not None


def test_the_security_of_the_call_goes_before_that_of_the_link() -> None:
    link = f"vmess://{UUID}@a.example:443?encryption=chacha20-poly1305"
    assert read_server(link, None, None, None).user.security is SecurityName.CHACHA20_POLY1305
    assert read_server(link, None, "none", None).user.security is SecurityName.NONE


def test_each_word_for_a_security_is_one_of_the_settings() -> None:
    assert {each.value for each in SecurityName} == set(SECURITY_WORDS)


def test_the_first_server_and_user_of_an_outbound() -> None:
    users = tuple(OutboundUserSettings(id=bytes([n]) * 16) for n in range(2))
    servers = tuple(
        VMessServerSettings(address=host, port=443, users=users) for host in ("a.b", "c.d")
    )
    vmess = VMessOutboundSettings(servers=servers, dialect=DOCUMENT, global_padding=False)
    outbound = OutboundSettings(protocol=vmess)
    assert read_server(outbound, None, None, None) == Server(
        host="a.b", port=443, user=users[0], vmess=vmess, outbound=outbound
    )


SHARING = """
[[outbounds]]
protocol = "vmess"
address = "a.example"
port = 443
id = "b831381d-6324-4d53-ad4f-8cda48b30811"
mux = { enabled = true, concurrency = %d }
packet_encoding = "xudp"
"""


def test_an_outbound_that_goes_through_another_is_refused() -> None:
    outbound = read_server(("a.example", 443), ACCOUNT, None, None).outbound
    with pytest.raises(ValueError, match="goes through another one, 'near'"):
        read_server(attrs.evolve(outbound, through="near"), None, None, None)


def test_an_outbound_whose_streams_share_connections_is_refused_by_line_and_key() -> None:
    (outbound,) = parse_config(SHARING % 8).outbounds
    with pytest.raises(ValueError, match=r":7:9: outbounds\[0\]\.mux\.enabled: .* take a node"):
        read_server(outbound, None, None, None)


def test_settings_built_in_python_are_refused_by_their_key() -> None:
    (outbound,) = parse_config(SHARING % -1).outbounds
    with pytest.raises(ValueError, match=r"^mux\.enabled: .* take a node"):
        read_server(attrs.evolve(outbound, mux=MuxSettings(enabled=True)), None, None, None)


def test_what_is_about_datagrams_alone_means_nothing_to_a_stream() -> None:
    (outbound,) = parse_config(SHARING % -1).outbounds
    assert outbound.mux.enabled
    assert read_server(outbound, None, None, None).outbound is outbound


@pytest.mark.parametrize("protocol", [FreedomOutboundSettings(), VMessOutboundSettings(servers=())])
def test_an_outbound_without_a_server(protocol: OutboundProtocolSettings) -> None:
    with pytest.raises(ValueError, match="expected an outbound with protocol 'vmess' and a server"):
        read_server(OutboundSettings(protocol=protocol), None, None, None)
