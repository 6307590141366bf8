"""What V2Ray takes: old forms, loose spellings, and keys that have no effect here."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from trio_vmess.config import (
    ApiSettings,
    BlackholeOutboundSettings,
    DnsServerSettings,
    Experiment,
    FreedomOutboundSettings,
    HttpInboundSettings,
    MixedInboundSettings,
    MuxSettings,
    PacketEncoding,
    PolicyLevelSettings,
    PortRange,
    QuicOverMux,
    RedirectSettings,
    SecurityName,
    SocksAuth,
    SocksInboundSettings,
    UnixSocket,
    VMessInboundSettings,
    VMessOutboundSettings,
    parse_config,
)
from trio_vmess.core import Network
from trio_vmess.core.sniff import SniffingSettings

FREEDOM = '"outbounds": [{"protocol": "freedom", "tag": "direct"}]'


def inbound(text, **options):
    return parse_config('{"inbounds": [' + text + "], " + FREEDOM + "}", **options).inbounds[0]


def outbound(text):
    return parse_config('{"outbounds": [' + text + "]}").outbounds[0].protocol


def warned(text):
    config = parse_config("{" + text + ", " + FREEDOM + "}")
    return [(each.where, each.message) for each in config.warnings]


def test_the_form_before_v2ray_4():
    config = parse_config("""{
        "port": 1080,
        "inbound": {
            "listen": "127.0.0.1", "protocol": "socks", "domainOverride": ["http", "https"]},
        "inboundDetour": [{"protocol": "http", "port": "1081", "listen": "::1"}],
        "inbounds": [{"protocol": "vmess", "port": 1082, "settings": {
            "clients": [{"id": "27848739-7e62-4138-9fd3-098a63964b6b"}],
            "features": {"detour": {"to": "x"}}}},
            {"protocol": "vmess", "port": 1083, "tag": "x"}],
        "outbound": {"protocol": "freedom", "settings": {"timeout": 0}},
        "outboundDetour": [{"protocol": "blackhole", "tag": "blocked"}],
        "routing": {"strategy": "rules", "settings": {"domainStrategy": "IPIfNonMatch", "rules": [
            {"type": "field", "ip": ["10.0.0.0/8"], "outboundTag": "blocked"}]}}
    }""")
    assert [str(each.port) for each in config.inbounds] == ["1080", "1081", "1082", "1083"]
    assert config.inbounds[0].sniffing == SniffingSettings(dest_override=("http", "tls"))
    assert config.inbounds[2].protocol.detour == "x"
    assert [type(each.protocol) for each in config.outbounds] == [
        FreedomOutboundSettings,
        BlackholeOutboundSettings,
    ]
    assert config.routing.rules[0].ips == ("10.0.0.0/8",)
    assert [each.where for each in config.warnings] == ["outbound.settings.timeout"]


def test_keys_are_case_insensitive():
    parsed = inbound('{"Protocol": "VMess", "PORT": 1, "Settings": {"CLIENTS": [{"ID": "a"}]}}')
    assert len(parsed.protocol.users) == 1


def test_null_is_like_a_missing_key():
    text = '{"protocol": "freedom", "streamSettings": null, "settings": {"vnext": null}}'
    assert outbound(text) == FreedomOutboundSettings()


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("80", PortRange(80, 80)),
        ("0", PortRange(0, 0)),
        ('"80"', PortRange(80, 80)),
        ('"80-90"', PortRange(80, 90)),
        ('"80 - 90"', PortRange(80, 90)),
        ('"env:PORTS"', PortRange(7, 9)),
    ],
)
def test_ports(spelled, read):
    parsed = inbound('{"protocol": "http", "port": ' + spelled + "}", environ={"PORTS": "7-9"})
    assert parsed.port == read


def test_a_port_from_the_process_environment(monkeypatch):
    monkeypatch.setenv("VMESS_TEST_PORT", "77")
    assert inbound('{"protocol": "http", "port": "env:VMESS_TEST_PORT"}').port == PortRange(77, 77)


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("localhost", IPv4Address("127.0.0.1")),
        ("::", IPv6Address("::")),
        ("[::1]", IPv6Address("::1")),
        ("/run/vmess.sock", UnixSocket("/run/vmess.sock")),
        ("@vmess", UnixSocket("@vmess")),
    ],
)
def test_listen(spelled, read):
    parsed = inbound('{"protocol": "http", "port": 1, "listen": "' + spelled + '"}')
    assert parsed.listen == read


def test_a_unix_socket_needs_no_port():
    assert inbound('{"protocol": "http", "listen": "/x"}').port == PortRange(0, 0)


def test_accounts_without_password_authentication_cause_a_warning():
    config = parse_config(
        '{"inbounds": [{"protocol": "socks", "port": 1, "settings": '
        '{"accounts": [{"user": "a", "pass": "b"}]}}],' + FREEDOM + "}"
    )
    assert config.inbounds[0].protocol.auth is SocksAuth.NOAUTH
    assert "anyone can connect" in config.warnings[0].message


def test_local_inbounds():
    text = '{"protocol": "%s", "port": 1, "settings": {"accounts": [{"user": "a", "pass": "b"}]}}'
    assert isinstance(inbound(text % "http").protocol, HttpInboundSettings)
    assert isinstance(inbound(text % "mixed").protocol, MixedInboundSettings)
    parsed = inbound('{"protocol": "socks", "port": 1, "settings": {"udp": true}}')
    assert parsed.protocol == SocksInboundSettings(udp=True)
    assert parsed.networks == (Network.TCP, Network.UDP)


def test_secrets_are_not_in_the_repr():
    config = parse_config(
        '{"inbounds": [{"protocol": "http", "port": 1, "settings":'
        ' {"accounts": [{"user": "a", "pass": "hunter2"}]}}, {"protocol": "vmess", "port": 2,'
        ' "settings": {"clients": [{"id": "0123456789abcdef0123456789abcdef"}]}}],'
        ' "outbounds": [{"protocol": "vmess", "settings": {"address": "a.b", "port": 1,'
        ' "id": "0123456789abcdef0123456789abcdef"}}]}'
    )
    assert config.outbounds[0].protocol.servers[0].users[0].id[0] == 0x01
    shown = repr(config)
    assert "hunter2" not in shown
    assert "\\x01" not in shown
    assert "0123" not in shown


def test_the_flat_form_of_a_vmess_outbound():
    protocol = outbound(
        '{"protocol": "vmess", "settings": {"address": "[2001:db8::1]", "port": 443,'
        ' "id": "example", "security": "CHACHA20-poly1305", "experiments": "NoTerminationSignal"}}'
    )
    (server,) = protocol.servers
    (user,) = server.users
    assert server.address == IPv6Address("2001:db8::1")
    assert user.id.hex() == "feb54431301b52bba6dde1e93e81bb9e"
    assert user.security is SecurityName.CHACHA20_POLY1305
    assert user.experiments == (Experiment.NO_TERMINATION_SIGNAL,)
    assert protocol == VMessOutboundSettings(servers=(server,))


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("", None),
        ("127.0.0.1:80", RedirectSettings(host=IPv4Address("127.0.0.1"), port=80)),
        (":80", RedirectSettings(port=80)),
        ("a.b:0", RedirectSettings(host="a.b")),
        ("[::1]:5", RedirectSettings(host=IPv6Address("::1"), port=5)),
    ],
)
def test_redirect(spelled, read):
    text = '{"protocol": "freedom", "settings": {"redirect": "' + spelled + '"}}'
    assert outbound(text) == FreedomOutboundSettings(redirect=read)


def test_a_level_overrides_only_what_it_names():
    config = parse_config(
        '{"policy": {"levels": {"1": {"handshake": 4}, "0": {"bufferSize": 0}}},' + FREEDOM + "}"
    )
    assert config.policy.level(1) == PolicyLevelSettings(handshake=4)
    assert config.policy.level(0) == PolicyLevelSettings(buffer_size=0)
    assert config.policy.level(2) == PolicyLevelSettings()


def test_log_defaults():
    assert parse_config("{" + FREEDOM + "}").log.access == "none"
    assert parse_config('{"log": {},' + FREEDOM + "}").log.access == ""


def test_dns():
    config = parse_config(
        '{"dns": {"hosts": {"domain:a.b": "c.d", "e": ["::1", "1.1.1.1"]}, "servers":'
        ' ["https://dns.example/dns-query", "1.1.1.1", {"address": "localhost"}]},' + FREEDOM + "}"
    )
    assert config.dns.hosts == {
        "domain:a.b": ("c.d",),
        "e": (IPv6Address("::1"), IPv4Address("1.1.1.1")),
    }
    assert config.dns.servers == (
        DnsServerSettings(address="https://dns.example/dns-query"),
        DnsServerSettings(address="1.1.1.1"),
        DnsServerSettings(address="localhost"),
    )


def test_rules_may_name_the_api_and_the_resolver():
    config = parse_config(
        '{"api": {"tag": "api", "services": ["StatsService"]}, "dns": {"tag": "dns"},'
        '"routing": {"rules": [{"inboundTag": ["api", "dns"], "outboundTag": "api"}]},'
        + FREEDOM
        + "}"
    )
    assert config.api == ApiSettings(tag="api")
    assert [each.where for each in config.warnings] == ["api"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('"api": {"tag": "api"}', "api"),
        ('"transport": {"kcpSettings": {"mtu": 1350}}', "transport.kcpSettings"),
        ('"observatory": {}', "observatory"),
        ('"_comment": "hello"', "_comment"),
        ('"routing": {"domainMatcher": "mph"}', "routing.domainMatcher"),
        ('"dns": {"disableCache": true}', "dns.disableCache"),
        (
            (
                '"inbounds": [{"protocol": "vmess", "port": 1, "settings": '
                '{"clients": [{"id": "27848739-7e62-4138-9fd3-098a63964b6b",'
                '"security": "auto"}]}}]'
            ),
            "inbounds[0].settings.clients[0].security",
        ),
        (
            (
                '"inbounds": [{"protocol": "http", "port": 1, "listen": "::1", "sniffing": '
                '{"destOverride": ["fakedns"]}}]'
            ),
            "inbounds[0].sniffing.destOverride",
        ),
        (
            (
                '"inbounds": [{"protocol": "http", "port": 1, "listen": "::1", "streamSettings": '
                '{"sockopt": {"tcpMptcp": true}}}]'
            ),
            "inbounds[0].streamSettings.sockopt.tcpMptcp",
        ),
    ],
)
def test_keys_without_effect_cause_a_warning(text, where):
    ((found, message),) = warned(text)
    assert found == where
    assert message.startswith("ignored: ")


@pytest.mark.parametrize(
    "stream",
    [
        "{}",
        '{"network": "tcp", "security": "none", "tcpSettings": {"header": {"type": "none"}}}',
        '{"network": "raw", "rawSettings": {}, "wsSettings": null, "tlsSettings": {}}',
        '{"sockopt": {"mark": 0, "tproxy": "off"}}',
    ],
)
def test_plain_tcp_in_every_spelling(stream):
    text = '{"protocol": "freedom", "mux": {"enabled": false, "concurrency": -1},'
    assert outbound(text + '"proxySettings": {}, "streamSettings": ' + stream + "}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{}", MuxSettings()),
        ('{"enabled": true}', MuxSettings(enabled=True, concurrency=8)),
        ('{"enabled": true, "concurrency": 0}', MuxSettings(enabled=True, concurrency=8)),
        ('{"enabled": true, "concurrency": 3}', MuxSettings(enabled=True, concurrency=3)),
        ('{"enabled": true, "concurrency": -1}', MuxSettings(enabled=True, concurrency=-1)),
        (
            '{"xudpConcurrency": 16, "xudpProxyUDP443": "skip"}',
            MuxSettings(xudp_concurrency=16, xudp_proxy_udp443=QuicOverMux.SKIP),
        ),
    ],
)
def test_mux_is_as_in_v2ray(written: str, meant: MuxSettings) -> None:
    vmess = '"settings": {"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"}'
    text = f'{{"outbounds": [{{"protocol": "vmess", {vmess}, "mux": {written}}}]}}'
    assert parse_config(text).outbounds[0].mux == meant


@pytest.mark.parametrize(
    ("mux", "settings", "encoding"),
    [
        ('{"enabled": true}', "", PacketEncoding.NONE),
        ('{"enabled": true, "xudpConcurrency": 16}', "", PacketEncoding.XUDP),
        ('{"enabled": false, "xudpConcurrency": 16}', "", PacketEncoding.NONE),
        (
            '{"enabled": true, "xudpConcurrency": 16}',
            ', "packetEncoding": "none"',
            PacketEncoding.NONE,
        ),
        ("{}", ', "packetEncoding": "XUDP"', PacketEncoding.XUDP),
        ("{}", ', "packetEncoding": "packetaddr"', PacketEncoding.PACKETADDR),
        ('{"enabled": true}', ', "packetEncoding": "packetaddr"', PacketEncoding.PACKETADDR),
    ],
)
def test_a_packet_encoding_is_asked_for_by_name_or_as_in_xray(
    mux: str, settings: str, encoding: PacketEncoding
) -> None:
    user = '"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"'
    found = outbound(f'{{"protocol": "vmess", "settings": {{{user}{settings}}}, "mux": {mux}}}')
    assert found.packet_encoding is encoding


def test_what_v2ray_5_sets_at_the_socks_inbound_is_pointed_to_its_place() -> None:
    config = parse_config(
        '{"inbounds": [{"protocol": "socks", "port": 1080, "settings": {"packetEncoding": "Packet"}'
        "}]," + FREEDOM + "}"
    )
    warnings = {each.where: each.message for each in config.warnings}
    assert "set at the vmess outbound" in warnings["inbounds[0].settings.packetEncoding"]


def test_rule_conditions_are_kept_as_written():
    config = parse_config(
        '{"routing": {"rules": [{"type": "field", "domain": ["geosite:cn@ads", "plain", "dotless:",'
        ' "ext:file.dat:x"], "ip": ["geoip:!cn", "ext:ip.dat:x"], "port": 53, "network": "tcp,udp",'
        ' "outboundTag": "direct"}]},' + FREEDOM + "}"
    )
    (rule,) = config.routing.rules
    assert rule.domains == ("geosite:cn@ads", "plain", "dotless:", "ext:file.dat:x")
    assert rule.ips == ("geoip:!cn", "ext:ip.dat:x")
    assert rule.ports == ((53, 53),)
    assert rule.networks == (Network.TCP, Network.UDP)


def test_what_v2rayn_writes_loads():
    config = parse_config("""{
      "log": {"access": "", "error": "", "loglevel": "warning"},
      "inbounds": [
        {"tag": "socks", "port": 10808, "listen": "127.0.0.1", "protocol": "socks",
         "sniffing": {"enabled": true, "destOverride": ["http", "tls"], "routeOnly": false},
         "settings": {"auth": "noauth", "udp": true, "allowTransparent": false}},
        {"tag": "http", "port": 10809, "listen": "127.0.0.1", "protocol": "http",
         "settings": {"auth": null, "udp": null, "allowTransparent": false}}],
      "outbounds": [
        {"tag": "proxy", "protocol": "vmess", "settings": {"vnext": [{"address": "192.0.2.1",
          "port": 443, "users": [{"id": "a3482e88-686a-4a58-8126-99c9df64b7bf", "alterId": 0,
          "email": "t@t.tt", "security": "auto"}]}], "servers": null, "response": null},
         "streamSettings": {"network": "tcp"}, "mux": {"enabled": false, "concurrency": -1}},
        {"tag": "direct", "protocol": "freedom", "settings": {}},
        {"tag": "block", "protocol": "blackhole", "settings": {"response": {"type": "http"}}}],
      "routing": {"domainStrategy": "AsIs", "domainMatcher": null, "rules": [
        {"type": "field", "port": null, "inboundTag": null, "outboundTag": "direct",
         "ip": ["geoip:private", "geoip:cn"], "domain": null, "protocol": null}]}
    }""")
    assert [each.where for each in config.warnings] == ["inbounds[0].settings.allowTransparent"]
    assert isinstance(config.outbounds[0].protocol, VMessOutboundSettings)
    assert not any(isinstance(each.protocol, VMessInboundSettings) for each in config.inbounds)
