"""Checks of streams across settings, and what is said about them at each start."""

import pytest

from tests.config.problems import ID
from tests.config.streams import (
    CERTIFICATES,
    inbound_of,
    json_inbound,
    json_outbound,
    outbound_of,
    toml_inbound,
    toml_outbound,
)
from trio_vmess.config import (
    Config,
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundSettings,
    OutboundSettings,
    StreamSettings,
    TlsSettings,
    UnixSocket,
    WebSocketSettings,
    load_config,
    validate,
)
from trio_vmess.errors import ConfigError

STREAM = "outbounds[0].streamSettings"


@pytest.mark.parametrize(
    ("stream", "where", "message"),
    [
        ({"network": "h2"}, "network", "HTTP/2 without TLS"),
        ({"network": "grpc"}, "network", "HTTP/2 without TLS"),
        (
            {"security": "tls", "tlsSettings": {"allowInsecure": True}},
            "tlsSettings.allowInsecure",
            "the server's certificate is not verified",
        ),
    ],
)
def test_a_risk_of_a_client_is_warned_about(stream, where, message):
    _, warnings = outbound_of(json_outbound(stream))
    ((found, text),) = warnings
    assert found == f"{STREAM}.{where}"
    assert message in text


@pytest.mark.parametrize(
    "stream",
    [
        {"network": "h2", "security": "tls"},
        {"network": "ws"},
        {"security": "tls", "tlsSettings": {"allowInsecure": False}},
        {
            "security": "tls",
            "tlsSettings": {"allowInsecure": True, "pinnedPeerCertSha256": "ab" * 32},
        },
    ],
)
def test_what_is_safe_is_not_warned_about(stream):
    assert outbound_of(json_outbound(stream))[1] == []


def test_zero_over_websocket_cannot_tell_its_end():
    stream = {"network": "ws", "security": "tls"}
    _, warnings = outbound_of(json_outbound(stream, security="zero"))
    ((where, message),) = warnings
    assert where == f"{STREAM}.network"
    assert "with the security 'zero', the end of an upload to a.b gets lost" in message
    assert outbound_of(json_outbound({"security": "tls"}, security="zero"))[1] == []


def test_an_upload_without_a_closing_chunk_is_warned_about_over_websocket():
    keys = "experiments = ['NoTerminationSignal']\ntransport = { type = 'ws' }"
    _, warnings = outbound_of(toml_outbound(keys), "toml")
    ((where, message),) = warnings
    assert where == "outbounds[0].transport"
    assert "with 'NoTerminationSignal'" in message


@pytest.mark.parametrize("security", ["none", "zero"])
def test_tls_protects_what_vmess_does_not_encipher(security):
    plain = outbound_of(json_outbound({}, security=security))[1]
    assert any("unencrypted" in message for _, message in plain)
    assert outbound_of(json_outbound({"security": "tls"}, security=security))[1] == []
    domain_socket = {"network": "ds", "dsSettings": {"path": "/run/x"}}
    assert outbound_of(json_outbound(domain_socket, security=security))[1] == []


def test_a_blackhole_carries_nothing():
    text = json_outbound({"network": "ws", "security": "tls"}, protocol="blackhole")
    ((where, message),) = outbound_of(text)[1]
    assert where == STREAM
    assert message.startswith("ignored: ")


def test_proxy_headers_from_elsewhere_need_trust():
    ((where, message),) = inbound_of(toml_inbound("accept_proxy_protocol = true"), "toml")[1]
    assert where == "inbounds[0].accept_proxy_protocol"
    assert "believed from this machine only" in message
    for extra in ("listen = '127.0.0.1'", "listen = '/run/x'", "trusted_proxies = ['192.0.2.1']"):
        text = toml_inbound(f"accept_proxy_protocol = true\n{extra}")
        assert inbound_of(text, "toml")[1] == []


def test_options_that_have_no_effect_on_unix_sockets():
    keys = "unix = '/run/x'\nsocket = { mark = 1 }"
    assert outbound_of(toml_outbound(keys), "toml")[1] == [
        ("outbounds[0].socket", "ignored: a Unix socket has no such options")
    ]
    keys = "listen = '/run/x'\nsocket = { keepalive_idle = 1 }"
    assert inbound_of(toml_inbound(keys), "toml")[1] == [
        ("inbounds[0].socket", "ignored: a Unix socket has no such options")
    ]


def test_fast_open_needs_a_program_that_speaks_first():
    stream = {"sockopt": {"tcpFastOpen": True}}
    ((where, message),) = outbound_of(json_outbound(stream, protocol="freedom"))[1]
    assert where.startswith("outbounds[0]")
    assert "may hang" in message
    assert outbound_of(json_outbound(stream))[1] == []


def test_a_server_does_not_verify_itself():
    tls = {"certificates": CERTIFICATES, "allowInsecure": True}
    ((where, message),) = inbound_of(json_inbound({"security": "tls", "tlsSettings": tls}))[1]
    assert where == "inbounds[0].streamSettings.tlsSettings.allowInsecure"
    assert message.startswith("ignored: ")


@pytest.mark.parametrize("protocol", ["socks", "mixed"])
def test_datagrams_are_not_carried(protocol):
    keys = f"""
        [[inbounds]]
        protocol = "{protocol}"
        listen = "127.0.0.1"
        port = 1
        udp = true
        transport = {{ type = "ws" }}
    """
    text = toml_outbound("") + keys
    assert inbound_of(text, "toml")[1] == [
        ("inbounds[0].transport", "datagrams (UDP) are carried without it")
    ]


@pytest.mark.parametrize(
    ("stream", "where"),
    [
        (StreamSettings(tls=TlsSettings()), "inbounds[0].stream.tls.certificates"),
        (StreamSettings(unix=UnixSocket("/x")), "inbounds[0].stream.unix"),
    ],
)
def test_settings_built_in_python_are_checked_too(stream, where):
    inbound = InboundSettings(
        protocol=HttpInboundSettings(), listen=UnixSocket("/run/x"), stream=stream
    )
    config = Config(
        inbounds=(inbound,), outbounds=(OutboundSettings(protocol=FreedomOutboundSettings()),)
    )
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert [each.where for each in caught.value.problems] == [where]


def test_two_inbounds_of_one_socket_conflict_whatever_their_permissions():
    first, second = "listen = '/run/x,0660'", "listen = '/run/x,0600,me'"
    inbound = f"[[inbounds]]\nprotocol = 'vmess'\nusers = [{{ id = '{ID}' }}]\n"
    with pytest.raises(ConfigError, match="/run/x conflicts with") as caught:
        inbound_of(f"{inbound}{first}\n{inbound}{second}\n", "toml")
    assert caught.value.problems[0].where == "inbounds[1].listen"


def test_a_key_in_the_file_is_a_secret(tmp_path):
    text = """
        [[inbounds]]
        protocol = "http"
        listen = "127.0.0.1"
        port = 1
        [inbounds.tls]
        certificate = '''-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----'''
        key = '''-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----'''
        [[outbounds]]
        protocol = "freedom"
        tag = "env:"
    """
    path = tmp_path / "f.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    (warning,) = load_config(path).warnings
    assert "every user of this machine can read it" in warning.message


def test_the_carrier_of_python_settings_is_located_by_the_model_names():
    outbound = OutboundSettings(
        protocol=FreedomOutboundSettings(), stream=StreamSettings(carrier=WebSocketSettings())
    )
    with pytest.raises(ConfigError, match=r"^outbounds\[0\]\.stream\.carrier: a freedom outbound"):
        validate(Config(outbounds=(outbound,)))
