"""Configurations around the settings that say what carries an inbound or outbound."""

import json

from tests.config.problems import ID
from trio_vmess.config import parse_config

FILE = "/etc/node/f"
CERTIFICATES = [{"certificateFile": "c.pem", "keyFile": "k.pem"}]


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
