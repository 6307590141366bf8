"""`streamSettings` and `transport` of V2Ray's and Xray's files: what each key becomes."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from tests.config.streams import CERTIFICATES, inbound_of, json_inbound, json_outbound, outbound_of
from trio_vmess.config import (
    PLAIN_STREAM,
    FallbackSettings,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpResponseSettings,
    HttpUpgradeSettings,
    SocketSettings,
    TcpSettings,
    UnixSocket,
    WebSocketSettings,
)

HTTP = {
    "type": "http",
    "request": {
        "version": "1.0",
        "method": "POST",
        "path": ["/a", "b"],
        "headers": {"Host": ["c.d", "e.f"], "Pragma": "no-cache"},
    },
    "response": {"version": "1.0", "status": 404, "reason": "No", "headers": {"X-A": []}},
}


def carrier_of(stream, transport=None):
    outbound, _ = outbound_of(json_outbound(stream, transport))
    return outbound.stream.carrier


@pytest.mark.parametrize(
    ("words", "carrier"),
    [
        (["tcp", "TCP", "raw", ""], TcpSettings()),
        (["ws", "websocket", "WebSocket"], WebSocketSettings()),
        (["httpupgrade", "HTTPUpgrade"], HttpUpgradeSettings()),
        (["http", "h2", "H2"], Http2Settings()),
        (["grpc", "gun", "gRPC"], GrpcSettings()),
    ],
)
def test_the_words_for_networks(words, carrier):
    for word in words:
        assert carrier_of({"network": word}) == carrier


@pytest.mark.parametrize(
    ("stream", "carrier"),
    [
        ({}, TcpSettings()),
        ({"tcpSettings": {"header": {"type": "none", "request": {}}}}, TcpSettings()),
        ({"rawSettings": {"header": {"type": "http"}}}, TcpSettings(header=HttpHeaderSettings())),
        (
            {"tcpSettings": {"header": HTTP}},
            TcpSettings(
                header=HttpHeaderSettings(
                    request=HttpRequestSettings(
                        version="1.0",
                        method="POST",
                        paths=("/a", "/b"),
                        headers={"Host": ("c.d", "e.f"), "Pragma": ("no-cache",)},
                    ),
                    response=HttpResponseSettings(
                        version="1.0", status="404", reason="No", headers={"X-A": ()}
                    ),
                )
            ),
        ),
        (
            {
                "network": "ws",
                "wsSettings": {"path": "p q", "headers": {"host": "c.d", "A": "1"}},
            },
            WebSocketSettings(path="/p%20q", host="c.d", headers={"A": "1"}),
        ),
        (
            {"network": "ws", "wsSettings": {"path": "/p?ed=2048", "heartbeatPeriod": 30}},
            WebSocketSettings(path="/p", max_early_data=2048, heartbeat=30.0),
        ),
        (
            {"network": "ws", "wsSettings": {"host": "c.d", "headers": {"Host": "e.f"}}},
            WebSocketSettings(host="c.d"),
        ),
        (
            {"network": "ws", "wsSettings": {"maxEarlyData": 2048}},
            WebSocketSettings(max_early_data=2048, early_data_header=""),
        ),
        (
            {"network": "ws", "wsSettings": {"maxEarlyData": 9, "earlyDataHeaderName": "X-E"}},
            WebSocketSettings(max_early_data=9, early_data_header="X-E"),
        ),
        (
            {
                "network": "httpupgrade",
                "httpupgradeSettings": {"path": "p?a=1&ed=1", "host": "c.d", "headers": {"A": "b"}},
            },
            HttpUpgradeSettings(path="/p?a=1", host="c.d", headers={"A": "b"}, is_eager=True),
        ),
        (
            {
                "network": "httpupgrade",
                "httpupgradeSettings": {"maxEarlyData": 9, "earlyDataHeaderName": "X-E"},
            },
            HttpUpgradeSettings(max_early_data=9, early_data_header="X-E"),
        ),
        (
            {
                "network": "h2",
                "httpSettings": {
                    "host": "c.d,e.f",
                    "path": "p",
                    "method": "POST",
                    "headers": {"A": ["b", "c"]},
                    "read_idle_timeout": 10,
                    "health_check_timeout": 15,
                },
            },
            Http2Settings(
                hosts=("c.d", "e.f"),
                path="/p",
                method="POST",
                headers={"A": ("b", "c")},
                read_idle_timeout=10.0,
                health_check_timeout=15.0,
            ),
        ),
        (
            {
                "network": "grpc",
                "grpcSettings": {
                    "serviceName": "svc",
                    "multiMode": True,
                    "authority": "c.d",
                    "user_agent": "x/1",
                    "idle_timeout": 60,
                    "health_check_timeout": 20,
                    "permit_without_stream": True,
                    "initial_windows_size": 65536,
                },
            },
            GrpcSettings(
                service_name="svc",
                is_multi=True,
                authority="c.d",
                user_agent="x/1",
                idle_timeout=60.0,
                health_check_timeout=20.0,
                permit_without_stream=True,
                initial_window_size=65536,
            ),
        ),
        (
            {"network": "gun", "gunSettings": {"serviceName": "svc"}},
            GrpcSettings(service_name="svc"),
        ),
    ],
)
def test_the_settings_of_each_network(stream, carrier):
    assert carrier_of(stream) == carrier


def test_the_top_level_transport_applies_where_there_are_no_settings():
    transport = {
        "tcpSettings": {"header": {"type": "http"}},
        "wsSettings": {"path": "/p"},
        "dsSettings": {"path": "/run/x"},
    }
    assert carrier_of({"network": "ws"}, transport) == WebSocketSettings(path="/p")
    own = {"network": "ws", "wsSettings": {"host": "c.d"}}
    assert carrier_of(own, transport) == WebSocketSettings(host="c.d")
    assert carrier_of("null", transport) == TcpSettings(header=HttpHeaderSettings())
    outbound, _ = outbound_of(json_outbound({"network": "ds"}, transport))
    assert outbound.stream.unix == UnixSocket("/run/x")


@pytest.mark.parametrize("protocol", ["freedom", "blackhole"])
def test_the_top_level_transport_is_for_outbounds_with_a_server(protocol):
    transport = {"tcpSettings": {"header": {"type": "http"}}}
    outbound, _ = outbound_of(json_outbound("null", transport, protocol=protocol))
    assert outbound.stream == PLAIN_STREAM


@pytest.mark.parametrize(
    ("settings", "unix"),
    [
        ({"path": "/run/x"}, UnixSocket("/run/x")),
        ({"path": "x", "abstract": True}, UnixSocket("@x")),
        ({"path": "x", "abstract": True, "padding": True}, UnixSocket("@@x")),
    ],
)
def test_domain_sockets_are_dialled_and_listened_on(settings, unix):
    stream = {"network": "DomainSocket", "dsSettings": settings}
    outbound, warnings = outbound_of(json_outbound(stream))
    assert (outbound.stream.unix, warnings) == (unix, [])
    inbound, _ = inbound_of(json_inbound(stream))
    assert (inbound.listen, inbound.stream) == (unix, PLAIN_STREAM)


@pytest.mark.parametrize(
    "stream",
    [
        {"tcpSettings": {"acceptProxyProtocol": True}},
        {"sockopt": {"acceptProxyProtocol": True}},
        {"network": "ws", "wsSettings": {"acceptProxyProtocol": True}},
        {"network": "httpupgrade", "httpupgradeSettings": {"acceptProxyProtocol": True}},
        {
            "network": "ws",
            "wsSettings": {"acceptProxyProtocol": False},
            "sockopt": {"acceptProxyProtocol": True},
        },
    ],
)
def test_the_proxy_protocol_is_switched_on_in_any_of_its_places(stream):
    trusted = {"trustedProxies": ["10.0.0.0/8", "::1", "192.0.2.7/24"]}
    inbound, warnings = inbound_of(json_inbound(stream | trusted))
    assert inbound.stream.accept_proxy_protocol
    assert inbound.stream.trusted_proxies == (
        IPv4Network("10.0.0.0/8"),
        IPv6Network("::1/128"),
        IPv4Network("192.0.2.0/24"),
    )
    assert warnings == []
    outbound, warnings = outbound_of(json_outbound(stream))
    assert not outbound.stream.accept_proxy_protocol
    assert warnings == [
        (
            "outbounds[0].streamSettings",
            "ignored: 'acceptProxyProtocol' applies to inbounds only",
        )
    ]


@pytest.mark.parametrize(
    ("fallback", "settings"),
    [
        ("/srv/www", FallbackSettings(target=Path("/srv/www"))),
        ("./www", FallbackSettings(target=Path("/etc/node/www"))),
        ("c.d:80", FallbackSettings(target=("c.d", 80))),
        (
            {"target": "127.0.0.1:80", "proxyProtocol": 2},
            FallbackSettings(target=(IPv4Address("127.0.0.1"), 80), proxy_protocol=2),
        ),
        ("unix:/run/x", FallbackSettings(target=UnixSocket("/run/x"))),
        ({"target": "@x"}, FallbackSettings(target=UnixSocket("@x"))),
    ],
)
def test_the_targets_of_a_fallback(fallback, settings):
    inbound, _ = inbound_of(json_inbound({"network": "ws", "fallback": fallback}))
    assert inbound.stream.fallback == settings


@pytest.mark.parametrize(
    ("sockopt", "settings"),
    [
        ({}, SocketSettings()),
        (
            {
                "mark": 255,
                "tcpFastOpen": True,
                "tcpKeepAliveIdle": 60,
                "tcpKeepAliveInterval": 15,
                "interface": "eth0",
                "tcpUserTimeout": 10500,
            },
            SocketSettings(
                mark=255,
                tcp_fast_open=True,
                keepalive_idle=60,
                keepalive_interval=15,
                interface="eth0",
                user_timeout=10.5,
            ),
        ),
        (
            {"tcpFastOpen": 256, "bindToDevice": "wg0"},
            SocketSettings(tcp_fast_open=True, interface="wg0"),
        ),
        ({"tcpFastOpen": False}, SocketSettings(tcp_fast_open=False)),
        ({"mark": 0, "tproxy": "off", "tcpUserTimeout": 0, "dialerProxy": ""}, SocketSettings()),
    ],
)
def test_socket_options(sockopt, settings):
    outbound, warnings = outbound_of(json_outbound({"sockopt": sockopt}))
    assert (outbound.stream.socket, warnings) == (settings, [])


@pytest.mark.parametrize(
    ("stream", "where", "message"),
    [
        (
            {"network": "ws", "tcpSettings": {"header": HTTP}},
            "tcpSettings",
            "the network is 'ws'",
        ),
        ({"kcpSettings": {"mtu": 1350}}, "kcpSettings", "the network is 'tcp'"),
        ({"tlsSettings": {"serverName": "c.d"}}, "tlsSettings", "the security is 'none'"),
        (
            {"security": "tls", "realitySettings": {"show": False}},
            "realitySettings",
            "the security is 'tls'",
        ),
        (
            {"sockopt": {"domainStrategy": "UseIP"}},
            "sockopt.domainStrategy",
            "the system's default is used",
        ),
        (
            {"sockopt": {"trustedXForwardedFor": ["CF-Connecting-IP"]}},
            "sockopt.trustedXForwardedFor",
            "'trustedProxies'",
        ),
        (
            {"network": "ws", "wsSettings": {"connectionReuse": True}},
            "wsSettings.connectionReuse",
            "no meaning",
        ),
        (
            {"network": "ws", "wsSettings": {"parseXForwardedFor": True}},
            "wsSettings.parseXForwardedFor",
            "'trustedProxies'",
        ),
    ],
)
def test_a_key_without_effect_is_warned_about(stream, where, message):
    _, warnings = outbound_of(json_outbound(stream))
    ((found, text),) = warnings
    assert found == f"outbounds[0].streamSettings.{where}"
    assert text.startswith("ignored: ")
    assert message in text


def test_a_server_with_all_of_it_has_no_warning():
    stream = {
        "network": "ws",
        "security": "tls",
        "wsSettings": {"path": "/p", "host": "c.d"},
        "tlsSettings": {"certificates": CERTIFICATES},
        "fallback": "/srv/www",
    }
    _, warnings = inbound_of(json_inbound(stream))
    assert warnings == []
