import pathlib

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.config import FreedomOutboundSettings, load_config, parse_config
from trio_vmess.config.toml import parse_toml
from trio_vmess.config.toml_locations import locate_keys
from trio_vmess.errors import ConfigError

EXAMPLE = pathlib.Path(__file__).parents[2] / "config.toml.example"

TRICKY = '''\
# [not.a.table]
"quoted key" = 1
a.b . 'c d' = "x # y"   # comment = 1
list = [ # [[no]]
    "a, ]", 'b',   # c
    [1, 2],
    { x = 1, y.z = "}" },
]
multi = """
[fake]
key = "value" \\""" still
"""
literal = \'\'\'
it's = "here"
\'\'\'
after = true

[[t]]
k = 1
[[t.u]]
[[t.u]]
k = 2979-01-01
[t.v.w]
k = -1.5e3
[[t]]
[t.u]
k = 4
["x.y"."z\\u0041"]
k = 5
'''


def test_positions_in_a_tricky_text():
    tomli.loads(TRICKY)
    spots = locate_keys(TRICKY)
    assert spots == {
        ("quoted key",): (2, 1),
        ("a",): (3, 1),
        ("a", "b"): (3, 1),
        ("a", "b", "c d"): (3, 1),
        ("list",): (4, 1),
        ("list", 0): (5, 5),
        ("list", 1): (5, 13),
        ("list", 2): (6, 5),
        ("list", 2, 0): (6, 6),
        ("list", 2, 1): (6, 9),
        ("list", 3): (7, 5),
        ("list", 3, "x"): (7, 7),
        ("list", 3, "y"): (7, 14),
        ("list", 3, "y", "z"): (7, 14),
        ("multi",): (9, 1),
        ("literal",): (13, 1),
        ("after",): (16, 1),
        ("t",): (18, 1),
        ("t", 0): (18, 1),
        ("t", 0, "k"): (19, 1),
        ("t", 0, "u"): (20, 1),
        ("t", 0, "u", 0): (20, 1),
        ("t", 0, "u", 1): (21, 1),
        ("t", 0, "u", 1, "k"): (22, 1),
        ("t", 0, "v"): (23, 1),
        ("t", 0, "v", "w"): (23, 1),
        ("t", 0, "v", "w", "k"): (24, 1),
        ("t", 1): (25, 1),
        ("t", 1, "u"): (26, 1),
        ("t", 1, "u", "k"): (27, 1),
        ("x.y",): (28, 1),
        ("x.y", "zA"): (28, 1),
        ("x.y", "zA", "k"): (29, 1),
    }


def paths_of(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from paths_of(item, (*path, key))


@pytest.mark.parametrize("text", [TRICKY, TRICKY.replace("\n", "\r\n")])
def test_every_key_of_the_document_is_found(text):
    assert set(locate_keys(text)) == set(paths_of(tomli.loads(text)))


LINES = st.sampled_from(
    [
        "[a]", "[[b]]", "[[b.c]]", "[b.d]", "x = 1", "y = [1, {z = '#'}]", 's = "a\\"]"', "# c",
        'm = """\n[q]\n"""', "d.e = 2", "", "n = [\n[], # ]\n[[]],\n]", "q = {a = {}, b.c = []}",
    ]
)  # fmt: skip


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_keys_and_positions_agree_with_the_parser(text):
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    spots = locate_keys(text)
    assert set(spots) == set(paths_of(document))
    lines = text.split("\n")
    for path, (line, column) in spots.items():
        if isinstance(path[-1], str) and "." not in lines[line - 1]:
            assert path[-1] in lines[line - 1][column - 1 :]


@given(st.text(alphabet="[]{}=.\"'#,\n ab1") | st.text())
def test_any_text_parses_or_is_a_config_error(text):
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        with pytest.raises(ConfigError, match="not valid TOML"):
            parse_toml(text)
    else:
        members = parse_toml(text).content.items
        assert [member.key for member in members] == list(document)
        assert all(member.line is not None for member in members)


@pytest.mark.parametrize("depth", [300, 600, 990, 100_000])
def test_deep_nesting_is_a_config_error(depth):
    with pytest.raises(ConfigError):
        parse_config("a = " + "[" * depth + "]" * depth, format="toml")


def test_a_server_without_outbounds_gets_freedom():
    config = parse_config(
        '[[inbounds]]\nprotocol = "vmess"\nport = 1\n'
        'users = [{id = "27848739-7e62-4138-9fd3-098a63964b6b"}]'
    )
    (outbound,) = config.outbounds
    assert outbound.protocol == FreedomOutboundSettings()
    assert outbound.tag == "direct"
    (warning,) = config.warnings
    assert "assuming one with protocol 'freedom'" in warning.message


JSON = """
{
  "log": {"loglevel": "debug", "access": "/a", "error": "none"},
  "policy": {"levels": {"3": {"connIdle": 9, "bufferSize": -1, "statsUserUplink": true}},
             "system": {"statsInboundUplink": true}},
  "stats": {},
  "inbounds": [
    {"protocol": "vmess", "port": "30-40", "listen": "::1", "tag": "v",
     "allocate": {"strategy": "random", "concurrency": 5, "refresh": 2},
     "settings": {"clients": [{"id": "example", "alterId": 2, "level": 3, "email": "a@b"}],
                  "default": {"alterId": 7, "level": 3}, "detour": {"to": "w"},
                  "disableInsecureEncryption": true, "dialect": "document", "maxClockSkew": 5}},
    {"protocol": "vmess", "port": 50, "tag": "w", "settings": {"clients": [{"id": "x"}]}},
    {"protocol": "socks", "port": 51, "sniffing": {"enabled": true, "destOverride": "tls"},
     "settings": {"auth": "password", "accounts": [{"user": "u", "pass": "p"}], "udp": true,
                  "ip": "::1", "userLevel": 3}},
    {"protocol": "dokodemo-door", "port": 52,
     "settings": {"address": "a.b", "port": 53, "network": "tcp,udp"}}
  ],
  "outbounds": [
    {"protocol": "vmess", "sendThrough": "::1", "tag": "o", "settings": {"globalPadding": false,
     "authenticatedLength": true, "timestampJitter": 7, "packetSize": 1200,
     "spareConnections": 2, "spareKeep": 1.5,
     "vnext": [{"address": "c.d", "port": 9, "users": [
       {"id": "example", "alterId": 2, "security": "zero",
        "experiments": "AuthenticatedLength|NoTerminationSignal"}]}]}},
    {"protocol": "freedom", "settings": {"domainStrategy": "UseIPv4", "redirect": ":5"}},
    {"protocol": "blackhole", "settings": {"response": {"type": "http"}}},
    {"protocol": "http", "settings": {"servers": [{"address": "::2", "port": 3,
      "users": [{"user": "u", "pass": "p"}]}]}}
  ],
  "routing": {"domainStrategy": "IPOnDemand", "balancers": [{"tag": "b", "selector": ["o"]}],
    "rules": [{"type": "field", "domain": "full:x", "ip": ["::1"], "port": "1,3-4",
               "network": "udp", "source": "10.0.0.0/8", "sourcePort": 7, "user": ["a@b"],
               "inboundTag": "v", "protocol": "tls", "attrs": "'z' in attrs", "balancerTag": "b"}]},
  "dns": {"tag": "d", "clientIp": "1.1.1.1", "hosts": {"h": "::1"},
          "servers": ["localhost", {"address": "1.1.1.1", "port": 5, "domains": ["x"],
                                    "expectIPs": ["geoip:cn"]}]}
}
"""

TOML = """
stats = {STATS}
[log]
level = "debug"
access = "/a"
error = "none"
[policy.levels.3]
connection_idle = 9
buffer_size = -1
stats_user_uplink = true
[policy.system]
stats_inbound_uplink = true
[[inbounds]]
protocol = "vmess"
port = "30-40"
listen = "::1"
tag = "v"
allocate = { strategy = "random", concurrency = 5, refresh = 2 }
users = [{ id = "example", alter_id = 2, level = 3, email = "a@b" }]
default = { alter_id = 7, level = 3 }
detour = "w"
disable_insecure_encryption = true
dialect = "document"
max_clock_skew = 5.0
[[inbounds]]
protocol = "vmess"
port = 50
tag = "w"
users = [{ id = "x" }]
[[inbounds]]
protocol = "socks"
port = 51
sniffing = { enabled = true, dest_override = ["tls"] }
accounts = [{ user = "u", password = "p" }]
udp = true
ip = "::1"
user_level = 3
[[inbounds]]
protocol = "dokodemo-door"
port = 52
target_address = "a.b"
target_port = 53
networks = ["tcp", "udp"]
[[outbounds]]
protocol = "vmess"
send_through = "::1"
tag = "o"
global_padding = false
authenticated_length = true
timestamp_jitter = 7
packet_size = 1200
spare_connections = 2
spare_keep = 1.5
address = "c.d"
port = 9
id = "example"
alter_id = 2
security = "zero"
experiments = ["AuthenticatedLength", "NoTerminationSignal"]
[[outbounds]]
protocol = "freedom"
domain_strategy = "UseIPv4"
redirect = ":5"
[[outbounds]]
protocol = "blackhole"
response = "http"
[[outbounds]]
protocol = "http"
servers = [{ address = "::2", port = 3, users = [{ user = "u", password = "p" }] }]
[routing]
domain_strategy = "IPOnDemand"
balancers = [{ tag = "b", selector = ["o"] }]
[[routing.rules]]
domains = ["full:x"]
ips = ["::1"]
ports = [1, "3-4"]
networks = ["udp"]
sources = ["10.0.0.0/8"]
source_ports = [7]
users = ["a@b"]
inbound_tags = ["v"]
protocols = ["tls"]
attributes = "'z' in attrs"
balancer_tag = "b"
[dns]
tag = "d"
client_ip = "1.1.1.1"
hosts = { h = "::1" }
servers = [
    "localhost",
    { address = "1.1.1.1", port = 5, domains = ["x"], expect_ips = ["geoip:cn"] },
]
"""


def test_both_formats_make_the_same_settings():
    from_json = parse_config(JSON)
    from_toml = parse_config(TOML.replace("{STATS}", "true"))
    assert from_json == from_toml
    assert from_json.policy.level(3).buffer_size is None
    assert from_json.policy.level(4).buffer_size == 512 * 1024
    # What is open to strangers is the same in both; each file has its own words for where.
    assert sorted(each.message for each in from_json.warnings) == sorted(
        each.message for each in from_toml.warnings
    )
    assert len(from_toml.warnings) == 5


def test_every_key_of_the_example_has_a_position():
    text = EXAMPLE.read_text("utf-8")
    assert set(locate_keys(text)) == set(paths_of(tomli.loads(text)))
    assert load_config(EXAMPLE).inbounds[0].locations["port"].line is not None
