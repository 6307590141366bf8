"""Configurations around the settings that say what carries an inbound or outbound."""

import json

from tests.config.problems import ID
from trio_vmess.config import parse_config

FILE = "/etc/node/f"
CERTIFICATES = [{"certificateFile": "c.pem", "keyFile": "k.pem"}]

EVERY_KEY = {
    "inbounds": [
        {
            "protocol": "http",
            "port": 1,
            "listen": "127.0.0.1",
            "streamSettings": {
                "network": "ws",
                "security": "tls",
                "wsSettings": {
                    "path": "/p?ed=2048",
                    "host": "c.d",
                    "headers": {"A": "b"},
                    "acceptProxyProtocol": True,
                    "heartbeatPeriod": 30,
                    "maxEarlyData": 2048,
                    "earlyDataHeaderName": "X-E",
                },
                "tlsSettings": {
                    "serverName": "c.d",
                    "alpn": ["h2", "http/1.1"],
                    "certificates": [
                        {"certificateFile": "c.pem", "keyFile": "k.pem", "usage": "encipherment"},
                        {"certificate": ["-----BEGIN CERTIFICATE-----"], "usage": "verifyclient"},
                    ],
                    "verifyClientCertificate": True,
                    "minVersion": "1.2",
                    "maxVersion": "1.3",
                    "pinnedPeerCertSha256": "ab" * 32,
                    "pinnedPeerCertificateChainSha256": ["ab" * 32],
                    "verifyPeerCertByName": "c.d",
                    "fingerprint": "chrome",
                },
                "sockopt": {
                    "mark": 1,
                    "tcpFastOpen": 256,
                    "tcpKeepAliveIdle": 60,
                    "tcpKeepAliveInterval": 15,
                    "tcpUserTimeout": 10000,
                    "interface": "eth0",
                    "tproxy": "off",
                },
                "trustedProxies": ["192.0.2.0/24"],
                "fallback": {"target": "127.0.0.1:80", "proxyProtocol": 1},
            },
        }
    ],
    "outbounds": [{"protocol": "freedom", "streamSettings": {"network": "tcp"}}],
    "transport": {
        "tcpSettings": {
            "header": {
                "type": "http",
                "request": {
                    "version": "1.1",
                    "method": "GET",
                    "path": ["/"],
                    "headers": {"Host": ["c.d"]},
                },
                "response": {"version": "1.1", "status": "200", "reason": "OK", "headers": {}},
            }
        },
        "httpSettings": {"host": ["c.d"], "path": "/", "method": "PUT", "headers": {"A": ["b"]}},
        "grpcSettings": {"serviceName": "s", "multiMode": True, "idle_timeout": 60},
        "httpupgradeSettings": {"path": "/", "host": "c.d", "headers": {"A": "b"}},
        "dsSettings": {"path": "x", "abstract": True, "padding": True},
    },
}
"""A file of V2Ray with most of what it can say of streams."""


def json_inbound(stream, transport=None):
    """Return a file whose inbound has these `streamSettings`, on line 2, and this `transport`."""
    return (
        '{"inbounds": [{"protocol": "vmess", "port": 1, "settings": {"clients": [{"id": "'
        + ID
        + '"}]}, "streamSettings":\n'
        + (stream if isinstance(stream, str) else json.dumps(stream))
        + '}], "outbounds": [{"protocol": "freedom"}], "transport":\n'
        + json.dumps(transport or {})
        + "}"
    )


def json_outbound(stream, transport=None, security="auto", protocol="vmess"):
    """Return a file whose outbound has these `streamSettings`, on line 2."""
    user = json.dumps({"id": ID, "security": security})
    settings = f'{{"vnext": [{{"address": "a.b", "port": 1, "users": [{user}]}}]}}'
    if protocol != "vmess":
        settings = "{}"
    return (
        f'{{"outbounds": [{{"protocol": "{protocol}", "settings": {settings}, "streamSettings":\n'
        + (stream if isinstance(stream, str) else json.dumps(stream))
        + '}], "transport":\n'
        + json.dumps(transport or {})
        + "}"
    )


def toml_inbound(keys):
    """Return a file whose inbound has these keys, from line 6 on."""
    return (
        '[[outbounds]]\nprotocol = "freedom"\n[[inbounds]]\nprotocol = "vmess"\n'
        f'port = 1\n{keys}\n[[inbounds.users]]\nid = "{ID}"\n'
    )


def toml_outbound(keys):
    """Return a file whose outbound has these keys, from line 6 on."""
    return f'[[outbounds]]\nprotocol = "vmess"\naddress = "a.b"\nport = 1\nid = "{ID}"\n{keys}\n'


def inbound_of(text, kind="json"):
    """Return the inbound of a file and the places and texts of the warnings."""
    config = parse_config(text, file=f"{FILE}.{kind}")
    return config.inbounds[0], [(each.where, each.message) for each in config.warnings]


def outbound_of(text, kind="json"):
    """Return the outbound of a file and the places and texts of the warnings."""
    config = parse_config(text, file=f"{FILE}.{kind}")
    return config.outbounds[0], [(each.where, each.message) for each in config.warnings]


def uncommented(text):
    """Return the example with all that is in comments, each from `# [[` to an empty line."""
    lines = []
    is_block = False
    for line in text.splitlines():
        is_block = line.startswith("# [[") or (is_block and line.startswith("#"))
        lines.append(line[1:].removeprefix(" ") if is_block else line)
    return "\n".join(lines)
