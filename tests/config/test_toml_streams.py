"""What carries inbounds and outbounds, in TOML."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.config.streams import inbound_of, outbound_of, toml_inbound, toml_outbound
from trio_vmess.config import (
    FallbackSettings,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpUpgradeSettings,
    SocketSettings,
    TcpSettings,
    UnixSocket,
    WebSocketSettings,
)


@pytest.mark.parametrize(
    ("keys", "carrier"),
    [
        ('type = "tcp"', TcpSettings()),
        ('type = "tcp", header = {}', TcpSettings(header=HttpHeaderSettings())),
        (
            'type = "tcp", header = { request = { paths = ["a", "/b"], headers = { A = "b" } } }',
            TcpSettings(
                header=HttpHeaderSettings(
                    request=HttpRequestSettings(paths=("/a", "/b"), headers={"A": ("b",)})
                )
            ),
        ),
        (
            'type = "ws", path = "p?ed=64", host = "c.d", headers = { A = "b" }, heartbeat = 30',
            WebSocketSettings(
                path="/p", host="c.d", headers={"A": "b"}, max_early_data=64, heartbeat=30.0
            ),
        ),
        ('type = "WebSocket", max_early_data = 64', WebSocketSettings(max_early_data=64)),
        (
            'type = "ws", max_early_data = 64, early_data_header = ""',
            WebSocketSettings(max_early_data=64, early_data_header=""),
        ),
        ('type = "httpupgrade", eager = true', HttpUpgradeSettings(is_eager=True)),
        ('type = "httpupgrade", max_early_data = 64', HttpUpgradeSettings(max_early_data=64)),
        ('type = "h2", hosts = ["c.d"]', Http2Settings(hosts=("c.d",))),
        (
            'type = "grpc", service_name = "s", multi = true',
            GrpcSettings(service_name="s", is_multi=True),
        ),
    ],
)
def test_each_type_of_transport(keys, carrier):
    inbound, _ = inbound_of(toml_inbound(f"transport = {{ {keys} }}"), "toml")
    assert inbound.stream.carrier == carrier


def test_the_keys_beside_the_transport_of_an_inbound():
    keys = """
        accept_proxy_protocol = true
        trusted_proxies = ["192.0.2.0/24"]
        fallback = { target = "127.0.0.1:80", proxy_protocol = 1 }
        transport = { type = "ws" }
    """
    inbound, warnings = inbound_of(toml_inbound(keys), "toml")
    assert warnings == []
    assert inbound.stream.accept_proxy_protocol
    assert inbound.stream.trusted_proxies == (IPv4Network("192.0.2.0/24"),)
    target = (IPv4Address("127.0.0.1"), 80)
    assert inbound.stream.fallback == FallbackSettings(target=target, proxy_protocol=1)


def test_the_unix_socket_of_an_outbound():
    outbound, warnings = outbound_of(toml_outbound('unix = "@vmess"'), "toml")
    assert warnings == []
    assert outbound.stream.unix == UnixSocket("@vmess")


def test_the_keys_beside_the_transport_of_an_outbound():
    keys = """
        socket = { mark = 1, tcp_fast_open = false, keepalive_idle = 60, keepalive_interval = 15, \
interface = "eth0", user_timeout = 1.5 }
    """
    outbound, warnings = outbound_of(toml_outbound(keys), "toml")
    assert warnings == []
    assert outbound.stream.socket == SocketSettings(
        mark=1,
        tcp_fast_open=False,
        keepalive_idle=60,
        keepalive_interval=15,
        interface="eth0",
        user_timeout=1.5,
    )


@pytest.mark.parametrize(
    ("listen", "unix"),
    [
        ("/run/x", UnixSocket("/run/x")),
        ("/run/x,0660", UnixSocket("/run/x", mode=0o660)),
        ("/run/x,666", UnixSocket("/run/x", mode=0o666)),
        ("/run/x,0660,me:web", UnixSocket("/run/x", mode=0o660, owner="me", group="web")),
        ("/run/x,0660,me", UnixSocket("/run/x", mode=0o660, owner="me")),
        ("/run/x,0660,:web", UnixSocket("/run/x", mode=0o660, group="web")),
        ("@x,0660", UnixSocket("@x,0660")),
    ],
)
def test_the_permissions_of_a_socket_to_listen_on(listen, unix):
    inbound, _ = inbound_of(toml_inbound(f'listen = "{listen}"'), "toml")
    assert inbound.listen == unix


def test_the_places_of_keys_are_kept_for_later_checks():
    keys = "transport = { type = 'ws' }\ntls = { certificate_file = 'c', key_file = 'k' }"
    inbound, _ = inbound_of(toml_inbound(keys), "toml")
    stream = inbound.stream
    assert (stream.locations["carrier"].where, stream.locations["carrier"].line) == (
        "inbounds[0].transport",
        6,
    )
    (certificate,) = stream.tls.certificates
    assert certificate.locations["key_file"].where == "inbounds[0].tls.key_file"
    assert certificate.locations["key_file"].line == 7
