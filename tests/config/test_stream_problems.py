"""Mistakes in `streamSettings`: each is found, and named with its key path and line."""

import pytest

from tests.config.problems import check_problem
from tests.config.streams import json_inbound, json_outbound, toml_inbound, toml_outbound

NETWORKS = [
    ("kcp", "the transport 'kcp' is not supported; use 'ws' or 'tcp'"),
    ("mKCP", "'mkcp' is not supported; use 'ws' or 'tcp'"),
    ("quic", "'quic' is not supported; use 'grpc' or 'h2'"),
    ("xhttp", "'xhttp' is not supported; use 'ws', 'httpupgrade' or 'grpc'"),
    ("splithttp", "'splithttp' is not supported"),
    ("hysteria", "'hysteria' is not supported"),
    ("wss", "unknown transport 'wss': expected one of tcp, ws, httpupgrade, h2, grpc"),
]
SECURITIES = [
    ("reality", "REALITY is not supported; use 'tls' with a certificate"),
    ("XTLS", "XTLS is not supported; use 'tls'"),
    ("utls", "Python's TLS library cannot imitate a browser; use 'tls'"),
    ("ssl", "unknown security 'ssl': expected one of none, tls"),
]


@pytest.mark.parametrize(("word", "message"), NETWORKS)
def test_a_network_is_refused_by_name(word, message):
    text = json_outbound({"network": word, "kcpSettings": {"mtu": 1350}})
    check_problem(text, "json", "outbounds[0].streamSettings.network", message, 2)
    text = toml_outbound(f'transport = {{ type = "{word}" }}')
    check_problem(text, "toml", "outbounds[0].transport.type", message, 6)


@pytest.mark.parametrize(("word", "message"), SECURITIES)
def test_a_security_never_means_none(word, message):
    text = json_outbound({"security": word, "realitySettings": {"publicKey": "x"}})
    check_problem(text, "json", "outbounds[0].streamSettings.security", message, 2)


@pytest.mark.parametrize(
    ("stream", "where", "message"),
    [
        ({"network": "ws", "wsSettings": {"path": "/?ed=x"}}, "wsSettings.path", "after 'ed='"),
        ({"network": "ws", "wsSettings": {"paht": "/"}}, "wsSettings.paht", "did you mean 'path'?"),
        (
            {"network": "ws", "wsSettings": {"headers": {"a b": "c"}}},
            "wsSettings.headers.a b",
            "cannot be the name of an HTTP header",
        ),
        (
            {"network": "ws", "wsSettings": {"headers": {"A": "b\r\nC: d"}}},
            "wsSettings.headers.A",
            "cannot be the value of an HTTP header",
        ),
        (
            {"network": "ws", "wsSettings": {"headers": {"A": ["b"]}}},
            "wsSettings.headers.A",
            "expected a string in quotes, found a list",
        ),
        (
            {"network": "ws", "wsSettings": {"useBrowserForwarding": True}},
            "wsSettings.useBrowserForwarding",
            "not supported",
        ),
        (
            {"network": "ws", "wsSettings": {"earlyDataHeaderName": "a b"}},
            "wsSettings.earlyDataHeaderName",
            "cannot be the name",
        ),
        (
            {"network": "httpupgrade", "httpupgradeSettings": {"maxEarlyData": 5}},
            "httpupgradeSettings.earlyDataHeaderName",
            "early data needs a header",
        ),
        (
            {"tcpSettings": {"header": {"type": "srtp"}}},
            "tcpSettings.header.type",
            "expected 'none' or 'http', found 'srtp'",
        ),
        (
            {"tcpSettings": {"header": {"type": "http", "response": {"status": "OK"}}}},
            "tcpSettings.header.response.status",
            "expected an HTTP status",
        ),
        (
            {"tcpSettings": {}, "rawSettings": {}},
            "rawSettings",
            "same setting as 'outbounds[0].streamSettings.tcpSettings'",
        ),
        ({"network": "ds"}, "dsSettings.path", "is missing: the path of the Unix socket"),
        (
            {"network": "ds", "dsSettings": {"path": "x"}},
            "dsSettings.path",
            "expected a path that begins with /",
        ),
        ({"finalmask": {"tcp": []}}, "finalmask", "not supported"),
        ({"sockopt": {"tproxy": "tproxy"}}, "sockopt.tproxy", "an outbound takes no redirected"),
        ({"sockopt": {"dialerProxy": "x"}}, "sockopt.dialerProxy", "not supported"),
        ({"sockopt": {"tcpFastOpen": "yes"}}, "sockopt.tcpFastOpen", "true, false or a number"),
        ({"sockopt": {"tcpKeepAliveIdle": -1}}, "sockopt.tcpKeepAliveIdle", "0 to 32767"),
    ],
)
def test_a_mistake_in_stream_settings(stream, where, message):
    check_problem(json_outbound(stream), "json", f"outbounds[0].streamSettings.{where}", message, 2)


def test_a_mistake_in_the_top_level_transport_is_reported_once():
    text = json_outbound({"network": "ws"}, {"wsSettings": {"path": 5}})
    check_problem(text, "json", "transport.wsSettings.path", "expected a string", 3)


@pytest.mark.parametrize(
    ("fallback", "where", "message"),
    [
        ('"html"', "", "expected a folder, with a / in its path, host:port"),
        ('"unix:x"', "", "which begins with / or @"),
        ("{ target = '/srv/www', proxy_protocol = 1 }", ".proxy_protocol", "a folder does not"),
        ("{ target = 'a.b:1', proxy_protocol = 3 }", ".proxy_protocol", "0 to 2"),
        ("{ proxy_protocol = 1 }", ".target", "is missing: a folder"),
    ],
)
def test_a_mistake_in_a_fallback(fallback, where, message):
    text = toml_inbound(f'transport = {{ type = "ws" }}\nfallback = {fallback}')
    check_problem(text, "toml", f"inbounds[0].fallback{where}", message, 7)


@pytest.mark.parametrize("word", ["h2", "grpc"])
def test_a_fallback_for_http_2(word):
    text = toml_inbound(f'transport = {{ type = "{word}" }}\nfallback = "/srv/www"')
    check_problem(text, "toml", "inbounds[0].fallback", "this transport is HTTP/2", 7)


@pytest.mark.parametrize(
    ("keys", "where", "message"),
    [
        ("transport = {}", "transport.type", "is missing: expected one of tcp, ws"),
        ("transport = { type = 'ws', serviceName = 's' }", "transport.serviceName", "unknown key"),
        (
            "transport = { type = 'ws', acceptProxyProtocol = true }",
            "transport.acceptProxyProtocol",
            "",
        ),
        ("trusted_proxies = ['10.0.0.0/99']", "trusted_proxies[0]", "expected an IP address or a"),
        ("unix = '/run/x'", "unix", "unknown key"),
        ("socket = { mark = -1 }", "socket.mark", "0 to 4294967295"),
        ("listen = '/run/x,rw'", "listen", "permissions in octal"),
        ("listen = '/run/x,0660,a:b,c'", "listen", "/path,0660,owner:group"),
        ("fallback = '/srv/www'", "fallback", "a fallback answers HTTP"),
    ],
)
def test_a_mistake_in_an_inbound_of_toml(keys, where, message):
    check_problem(toml_inbound(keys), "toml", f"inbounds[0].{where}", message, 6)


@pytest.mark.parametrize(
    ("keys", "where", "message"),
    [
        ("unix = 'x'", "unix", "which begins with / or @"),
        ("fallback = '/srv/www'", "fallback", "unknown key"),
        ("accept_proxy_protocol = true", "accept_proxy_protocol", "unknown key"),
        ("streamSettings = {}", "streamSettings", "unknown key"),
    ],
)
def test_a_mistake_in_an_outbound_of_toml(keys, where, message):
    check_problem(toml_outbound(keys), "toml", f"outbounds[0].{where}", message, 6)


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        ({"network": "ws"}, "network"),
        ({"security": "tls"}, "security"),
        ({"network": "ds", "dsSettings": {"path": "/x"}}, "unix"),
    ],
)
def test_freedom_has_socket_options_alone(stream, key):
    text = json_outbound(stream, protocol="freedom")
    where = f"outbounds[0].streamSettings.{key}"
    check_problem(text, "json", where, "it has only socket options", 2)


def test_a_server_with_tls_needs_a_certificate():
    message = "a server needs a certificate and its key"
    text = json_inbound({"security": "tls"})
    check_problem(text, "json", "inbounds[0].streamSettings.tlsSettings.certificates", message, 2)
    text = json_inbound({"security": "tls", "tlsSettings": {"serverName": "c.d"}})
    check_problem(text, "json", "inbounds[0].streamSettings.tlsSettings.certificates", message, 2)
    text = toml_inbound("tls = {}")
    check_problem(text, "toml", "inbounds[0].tls.certificates", message, 6)


def test_client_certificates_need_an_authority():
    keys = "certificate_file = 'c', key_file = 'k', verify_client_certificate = true"
    where = "inbounds[0].tls.verify_client_certificate"
    check_problem(toml_inbound(f"tls = {{ {keys} }}"), "toml", where, "is missing", 6)


def test_only_vmess_can_hand_over_what_comes_in_bare_tls():
    text = toml_inbound(
        "tls = { certificate_file = 'a.pem', key_file = 'a.key' }\nfallback = '/srv/www'"
    ).replace('protocol = "vmess"', 'protocol = "socks"')
    check_problem(text, "toml", "inbounds[0].fallback", "only a vmess inbound has a fallback", 7)
