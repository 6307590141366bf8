"""Wrong configurations: what the message says, and where it points."""

import textwrap

import pytest

from trio_vmess.config import parse_config
from trio_vmess.errors import ConfigError

ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
ID2 = "27848739-7e62-4138-9fd3-098a63964b6b"
FREEDOM = '"outbounds": [{"protocol": "freedom", "tag": "direct"}]'


def vmess(settings, rest=""):
    return (
        '{"inbounds": [{"port": 1, "protocol": "vmess", "tag": "in", "settings":\n'
        + settings
        + "}"
        + rest
        + "],\n"
        + FREEDOM
        + "}"
    )


def inbound(text):
    return '{"inbounds": [\n' + text + "\n],\n" + FREEDOM + "}"


def outbound(text):
    return '{"outbounds": [\n' + text + "\n]}"


def top(text):
    return "{\n" + text + ",\n" + FREEDOM + "}"


def routing(rule, rest=""):
    return top('"routing": {"rules": [\n' + rule + "]" + rest + "}")


JSON_MISTAKES = [
    # text, where, part of the message, line
    ("", "", "empty", 1),
    ("{", "", "the { on line 1 is not closed", 1),
    ('{\n  "log": {\n', "", "the { on line 2 is not closed", 3),
    ('{"a": 1\n "b": 2}', "", "is a comma missing after the previous value?", 2),
    ('{"a": [1 2]}', "", "comma or ]", 1),
    ("{'a': 1}", "", "single quote", 1),
    ("{\u201ca\u201d: 1}", "", "typographic", 1),
    ("{a: 1}", "", "without quotes", 1),
    ('{"a": tru}', "", "a value without quotes", 1),
    ('{"a": 08}', "", "no leading zeros", 1),
    ('{"a": 1abc}', "", "not a valid number", 1),
    ('{"a" 1}', "", "expected a colon", 1),
    ('{\n"a": "b\n"}', "", "does not end on its line", 2),
    ('{"a": "\\x"}', "", "backslash", 1),
    ('{"a": "\\ud800"}', "", "surrogate", 1),
    ("{} }", "", "after the end", 1),
    ("{\n/* no end", "", "never closed", 2),
    ('{"a": [1}', "", "the [ on line 1 must be closed first", 1),
    ('{"a": ' + "[" * 100, "", "nested more than 64 levels", 1),
    ('{"a": ' + "1" * 50 + "}", "", "more than 30 characters", 1),
    ("[1]", "", "found a list", 1),
    (top('"inbound": {}, "inbonds": []'), "inbonds", "did you mean 'inbounds'", 2),
    (top('"wholly_unlike": 1'), "wholly_unlike", "valid keys here: dns, inbound", 2),
    ("{}", "outbounds", "no outbound is configured", None),
    (top('"inbounds": {}'), "inbounds", "expected a list, found an object", 2),
    (top('"inbounds": [5]'), "inbounds[0]", "expected an object { … }, found the number 5", 2),
    (top('"log": "debug"'), "log", "expected an object", 2),
    (top('"log": {"loglevel": "warn"}'), "log.loglevel", "did you mean 'warning'", 2),
    (top('"log": {"level": "info"}'), "log.level", "write 'loglevel' instead", 2),
    (
        top('"log": {"access": 1}'),
        "log.access",
        "expected a string in quotes, found the number 1",
        2,
    ),
    # inbounds
    (inbound('{"port": 1}'), "inbounds[0].protocol", "'protocol' is missing", 2),
    (inbound('{"protocol": "vmes", "port": 1}'), "inbounds[0].protocol", "mean 'vmess'", 2),
    (inbound('{"protocol": "trojan", "port": 1}'), "inbounds[0].protocol", "not supported", 2),
    (inbound('{"protocol": "http"}'), "inbounds[0].port", "'port' is missing", 2),
    (inbound('{"protocol": "http", "port": 65536}'), "inbounds[0].port", "1 to 65535", 2),
    (inbound('{"protocol": "http", "port": -1}'), "inbounds[0].port", "1 to 65535", 2),
    (inbound('{"protocol": "http", "port": 1.5}'), "inbounds[0].port", "found the number 1.5", 2),
    (inbound('{"protocol": "http", "port": true}'), "inbounds[0].port", "found true", 2),
    (inbound('{"protocol": "http", "port": "9-3"}'), "inbounds[0].port", "'9-3' is reversed", 2),
    (inbound('{"protocol": "http", "port": "0-3"}'), "inbounds[0].port", "1 to 65535", 2),
    (
        inbound('{"protocol": "http", "port": "env:NO"}'),
        "inbounds[0].port",
        "variable 'NO' is not set",
        2,
    ),
    (inbound('{"protocol": "http", "port": "env:BAD"}'), "inbounds[0].port", "'x' (from", 2),
    (
        inbound('{"protocol": "http", "port": 1, "listen": "example.com"}'),
        "inbounds[0].listen",
        "cannot listen on 'example.com'",
        2,
    ),
    (
        inbound('{"protocol": "http", "port": 1, "PORT": 2}'),
        "inbounds[0].PORT",
        "already set as 'port' on line 2",
        2,
    ),
    (
        inbound('{"protocol": "http", "port": 1, "allocate": {"strategy": "external"}}'),
        "inbounds[0].allocate.strategy",
        "'external' is not supported",
        2,
    ),
    (
        inbound('{"protocol": "http", "port": 1, "allocate": {}}'),
        "inbounds[0].allocate.strategy",
        "'strategy' is missing",
        2,
    ),
    (
        inbound('{"protocol": "vmess", "port": "1-3",\n"allocate": {"strategy": "random"}}'),
        "inbounds[0].port",
        "it needs more than 'concurrency', which is 3",
        2,
    ),
    (
        inbound('{"protocol": "vmess", "listen": "/run/x",\n"allocate": {"strategy": "random"}}'),
        "inbounds[0].allocate",
        "cannot be combined with a Unix socket",
        3,
    ),
    (
        inbound('{"protocol": "http", "port": 1,\n"sniffing": {"destOverride": ["htp"]}}'),
        "inbounds[0].sniffing.destOverride[0]",
        "did you mean 'http'",
        3,
    ),
    (
        inbound('{"protocol": "http", "port": 1, "sniffing": {"metadataOnly": true}}'),
        "inbounds[0].sniffing.metadataOnly",
        "not supported",
        2,
    ),
    (
        inbound('{"protocol": "http", "port": 80},\n{"protocol": "socks", "port": "79-81"}'),
        "inbounds[1].port",
        "conflicts with 'inbounds[0].port' (line 2)",
        3,
    ),
    (
        inbound(
            '{"protocol": "http", "port": 80, "listen": "127.0.0.1"},\n'
            '{"protocol": "socks", "port": 80, "listen": "localhost"}'
        ),
        "inbounds[1].port",
        "tcp 127.0.0.1 port 80 conflicts",
        3,
    ),
    (
        inbound('{"protocol": "http", "listen": "@a"},\n{"protocol": "socks", "listen": "@a"}'),
        "inbounds[1].listen",
        "@a conflicts with 'inbounds[0].listen' (line 2); choose another path",
        3,
    ),
    (
        inbound(
            '{"protocol": "socks", "port": 53, "settings": {"udp": true}, "listen": "::"},\n'
            '{"protocol": "dokodemo-door", "port": 53, "listen": "::1",\n'
            '"settings": {"address": "::1", "port": 5, "network": "udp"}}'
        ),
        "inbounds[1].port",
        "udp ::1 port 53 conflicts",
        3,
    ),
    (
        inbound(
            '{"protocol": "http", "port": 1, "tag": "x"},\n'
            '{"protocol": "http", "port": 2, "tag": "x"}'
        ),
        "inbounds[1].tag",
        "already used by 'inbounds[0].tag' (line 2)",
        3,
    ),
    # VMess users
    (vmess('{"clients": [{}]}'), "inbounds[0].settings.clients[0].id", "'id' is missing", 2),
    (vmess('{"clients": [{"id": 5}]}'), "inbounds[0].settings.clients[0].id", "found a number", 2),
    (vmess('{"clients": [{"id": ""}]}'), "inbounds[0].settings.clients[0].id", "empty", 2),
    (
        vmess('{"clients": [{"id": "' + ID + 'ff"}]}'),
        "inbounds[0].settings.clients[0].id",
        "'b831381d…' is not a valid user id",
        2,
    ),
    (
        vmess('{"clients": [{"id": "b831381d-6324-4d53-ad4f"}]}'),
        "inbounds[0].settings.clients[0].id",
        "has 20 hex digits instead of 32",
        2,
    ),
    (
        vmess('{"clients": [{"id": "' + ID + '",\n"alterId": 65536}]}'),
        "inbounds[0].settings.clients[0].alterId",
        "from 0 to 65535, found the number 65536",
        3,
    ),
    (
        vmess('{"clients": [{"id": "' + ID + '", "alterId": "64"}]}'),
        "inbounds[0].settings.clients[0].alterId",
        "write it without quotes",
        2,
    ),
    (
        vmess('{"clients": [{"id": "' + ID + '", "aletrId": 64}]}'),
        "inbounds[0].settings.clients[0].aletrId",
        "did you mean 'alterId'",
        2,
    ),
    (
        vmess('{"clients": [{"id": "' + ID + '"},\n{"id": "' + ID.upper() + '"}]}'),
        "inbounds[0].settings.clients[1].id",
        "already used by 'inbounds[0].settings.clients[0].id' (line 2)",
        3,
    ),
    (
        vmess(
            f'{{"clients": [{{"id": "{ID}", "email": "A@b"}},\n{{"id": "{ID2}", "email": "a@B"}}]}}'
        ),
        "inbounds[0].settings.clients[1].email",
        "duplicate email: already used by",
        3,
    ),
    (vmess('{"default": {"level": 256}}'), "inbounds[0].settings.default.level", "0 to 255", 2),
    (vmess('{"detour": {"to": "inn"}}'), "inbounds[0].settings.detour.to", "mean 'in'", 2),
    (
        vmess('{"detour": {"to": "in"}}'),
        "inbounds[0].settings.detour.to",
        "refers to its own inbound",
        2,
    ),
    (vmess('{"detour": {}}'), "inbounds[0].settings.detour.to", "'to' is missing", 2),
    (
        vmess('{"detour": {"to": "s"}}', ', {"port": 2, "protocol": "socks", "tag": "s"}'),
        "inbounds[0].settings.detour.to",
        "does not have protocol 'vmess'",
        2,
    ),
    (
        vmess('{"detour": {"to": "s"}}', ', {"listen": "/s", "protocol": "vmess", "tag": "s"}'),
        "inbounds[0].settings.detour.to",
        "Unix socket",
        2,
    ),
    (
        vmess('{"disableInsecureEncryption": "true"}'),
        "inbounds[0].settings.disableInsecureEncryption",
        "without quotes",
        2,
    ),
    (vmess('{"maxClockSkew": -1}'), "inbounds[0].settings.maxClockSkew", "seconds", 2),
    (vmess('{"maxClockSkew": 1e999}'), "inbounds[0].settings.maxClockSkew", "seconds", 2),
    (vmess('{"dialect": "xray"}'), "inbounds[0].settings.dialect", "v2ray, document", 2),
    # other inbounds
    (
        inbound('{"protocol": "socks", "port": 1, "settings": {"auth": "password"}}'),
        "inbounds[0].settings.auth",
        "there are no accounts",
        2,
    ),
    (
        inbound('{"protocol": "socks", "port": 1, "settings": {"auth": "none"}}'),
        "inbounds[0].settings.auth",
        "unknown value 'none': expected one of noauth, password",
        2,
    ),
    (
        inbound(
            '{"protocol": "http", "port": 1,\n'
            '"settings": {"accounts": [{"user": "a",\n"pass": 5}]}}'
        ),
        "inbounds[0].settings.accounts[0].pass",
        "found a number",
        4,
    ),
    (
        inbound('{"protocol": "mixed", "port": 1, "settings": {"auth": "password"}}'),
        "inbounds[0].settings.auth",
        "remove 'auth'",
        2,
    ),
    (
        inbound('{"protocol": "dokodemo-door", "port": 1, "settings": {"followRedirect": true}}'),
        "inbounds[0].settings.followRedirect",
        "not supported",
        2,
    ),
    (
        inbound('{"protocol": "dokodemo-door", "port": 1}'),
        "inbounds[0].settings.address",
        "'address' is missing",
        2,
    ),
    (
        inbound(
            '{"protocol": "dokodemo-door", "port": 1,\n"settings": '
            '{"address": "a.b", "port": 1, "network": "tcp,sctp"}}'
        ),
        "inbounds[0].settings.network",
        "unknown value 'sctp': expected one of tcp, udp",
        3,
    ),
    # outbounds
    (outbound('{"protocol": "vmess"}'), "outbounds[0].settings", "add 'vnext'", 2),
    (
        outbound('{"protocol": "vmess", "settings": {"vnext": []}}'),
        "outbounds[0].settings.vnext",
        "the list is empty; add a server",
        2,
    ),
    (
        outbound('{"protocol": "vmess", "settings": {"vnext": [{"address": "a.b", "port": 1}]}}'),
        "outbounds[0].settings.vnext[0].users",
        "'users' is missing",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "settings": {"vnext": [{"address": "a.b:1", "users":[]}]}}'
        ),
        "outbounds[0].settings.vnext[0].address",
        "contains a port",
        2,
    ),
    (
        outbound('{"protocol": "vmess", "settings": {"vnext": [], "address": "a.b"}}'),
        "outbounds[0].settings.address",
        "cannot be combined with a list of servers",
        2,
    ),
    (
        outbound('{"protocol": "vmess", "settings": {"address": "a b", "port": 1, "id": "x"}}'),
        "outbounds[0].settings.address",
        "neither an IP address nor a domain name",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "settings": {"address": "a.b", "port": 0, "id": "x",\n'
            '"security": "aes-128"}}'
        ),
        "outbounds[0].settings.security",
        "did you mean 'aes-128-",
        3,
    ),
    (
        outbound(
            '{"protocol": "vmess", "settings": {"address": "a.b", "port": 1, "id": "x",\n'
            '"experiments": "AuthenticatedLenght"}}'
        ),
        "outbounds[0].settings.experiments",
        "did you mean 'AuthenticatedLength'",
        3,
    ),
    (outbound('{"protocol": "fredom"}'), "outbounds[0].protocol", "did you mean 'freedom'", 2),
    (
        outbound('{"protocol": "freedom", "settings": {"domainStrategy": "UseIP4"}}'),
        "outbounds[0].settings.domainStrategy",
        "did you mean 'UseIPv4'",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "settings": {"redirect": "example.com"}}'),
        "outbounds[0].settings.redirect",
        "host:port",
        2,
    ),
    (
        outbound('{"protocol": "blackhole", "settings": {"response": {"type": "html"}}}'),
        "outbounds[0].settings.response.type",
        "expected one of none, http",
        2,
    ),
    (outbound('{"protocol": "socks"}'), "outbounds[0].settings.servers", "is missing", 2),
    (
        outbound('{"protocol": "socks", "settings": {"version": "4", "servers": []}}'),
        "outbounds[0].settings.version",
        "only SOCKS 5",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "sendThrough": "eth0"}'),
        "outbounds[0].sendThrough",
        "expected an IP address, found 'eth0'",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "tag": "a"}, {"protocol": "freedom",\n"tag": "a"}'),
        "outbounds[1].tag",
        "duplicate tag: already used by 'outbounds[0].tag' (line 2)",
        3,
    ),
    (
        outbound('{"protocol": "freedom", "mux": {"enabled": true}}'),
        "outbounds[0].mux.enabled",
        "set it to false",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "proxySettings": {"tag": "x"}}'),
        "outbounds[0].proxySettings",
        "not supported",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "streamSettings": {"network": "ws"}}'),
        "outbounds[0].streamSettings.network",
        "the transport 'ws' is not supported",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "streamSettings": {"security": "tls"}}'),
        "outbounds[0].streamSettings.security",
        "'tls' is not supported",
        2,
    ),
    (
        outbound(
            '{"protocol": "freedom", "streamSettings":\n'
            '{"tcpSettings": {"header": {"type": "http"}}}}'
        ),
        "outbounds[0].streamSettings.tcpSettings.header.type",
        "the header type 'http' is not supported",
        3,
    ),
    (
        outbound(
            '{"protocol": "freedom", "streamSettings":\n'
            '{"tcpSettings": {"acceptProxyProtocol": true}}}'
        ),
        "outbounds[0].streamSettings.tcpSettings.acceptProxyProtocol",
        "PROXY protocol",
        3,
    ),
    (
        outbound('{"protocol": "freedom", "streamSettings": {"sockopt": {"tproxy": "tproxy"}}}'),
        "outbounds[0].streamSettings.sockopt.tproxy",
        "tproxy",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "streamSettings": {"sockopt": {"mark": 255}}}'),
        "outbounds[0].streamSettings.sockopt.mark",
        "socket marks are not supported",
        2,
    ),
    (
        top('"transport": {"tcpSettings": {"header": {"type": "http"}}}'),
        "transport.tcpSettings.header.type",
        "the header type 'http' is not supported",
        2,
    ),
    # policy
    (top('"policy": {"levels": {"-1": {}}}'), "policy.levels.-1", "not a valid user level", 2),
    (
        top('"policy": {"levels": {"0": {"connIdel": 5}}}'),
        "policy.levels.0.connIdel",
        "did you mean 'connIdle'",
        2,
    ),
    (
        top('"policy": {"levels": {"0": {"handshake": "4"}}}'),
        "policy.levels.0.handshake",
        "number of seconds",
        2,
    ),
    (
        top('"policy": {"system": {"statsInboundUplink": 1}}'),
        "policy.system.statsInboundUplink",
        "true or false",
        2,
    ),
    # routing
    (
        routing('{"type": "field", "ip": "::1", "outboundTag": "dirct"}'),
        "routing.rules[0].outboundTag",
        "did you mean 'direct'",
        3,
    ),
    (
        routing('{"type": "field", "ip": "::1", "balancerTag": "b"}'),
        "routing.rules[0].balancerTag",
        "no balancer has the tag 'b'; none has a tag",
        3,
    ),
    (
        routing('{"type": "field", "inboundTag": ["x"], "outboundTag": "direct"}'),
        "routing.rules[0].inboundTag",
        "no inbound has the tag 'x'",
        3,
    ),
    (
        routing('{"type": "field", "ip": "::1", "outboundTag": "direct", "balancerTag": "b"}'),
        "routing.rules[0].balancerTag",
        "either an outbound or a balancer",
        3,
    ),
    (routing('{"type": "field", "ip": "::1"}'), "routing.rules[0]", "the rule has no target", 3),
    (routing('{"outboundTag": "direct"}'), "routing.rules[0]", "no condition", 3),
    (
        routing('{"type": "chinaip", "ip": "::1", "outboundTag": "direct"}'),
        "routing.rules[0].type",
        "expected 'field'",
        3,
    ),
    (
        routing('{"domain": ["regexp:("], "outboundTag": "direct"}'),
        "routing.rules[0].domain[0]",
        "'(' is not a valid regular expression",
        3,
    ),
    (
        routing('{"domain": ["domian:a.b"], "outboundTag": "direct"}'),
        "routing.rules[0].domain[0]",
        "did you mean 'domain'",
        3,
    ),
    (
        routing('{"domain": ["full:"], "outboundTag": "direct"}'),
        "routing.rules[0].domain[0]",
        "'full:' must be followed by a value",
        3,
    ),
    (
        routing('{"ip": ["10.0.0.0/33"], "outboundTag": "direct"}'),
        "routing.rules[0].ip[0]",
        "a network such as",
        3,
    ),
    (
        routing('{"port": "80,90-70", "outboundTag": "direct"}'),
        "routing.rules[0].port",
        "'90-70' is reversed",
        3,
    ),
    (
        routing('{"domain": "a", "domains": "b", "outboundTag": "direct"}'),
        "routing.rules[0].domains",
        "same setting as 'routing.rules[0].domain'",
        3,
    ),
    (
        top('"routing": {"balancers": [{"tag": "a", "selector": ["x"]}]}'),
        "routing.balancers[0].selector",
        "no outbound tag starts",
        2,
    ),
    (
        top('"routing": {"balancers": [{"selector": []}]}'),
        "routing.balancers[0].tag",
        "'tag' is missing",
        2,
    ),
    # dns
    (top('"dns": {"servers": ["dns"]}'), "dns.servers[0]", "not a valid DNS server", 2),
    (top('"dns": {"servers": ["fakedns"]}'), "dns.servers[0]", "not supported", 2),
    (top('"dns": {"servers": [{}]}'), "dns.servers[0].address", "'address' is missing", 2),
    (top('"dns": {"hosts": {"a.b": "1.2.3.4:5"}}'), "dns.hosts.a.b", "contains a port", 2),
    (top('"dns": {"hosts": {"a.b": 5}}'), "dns.hosts.a.b", "found the number 5", 2),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), JSON_MISTAKES)
def test_problems_in_json(text, where, message, line):
    check(text, "json", where, message, line)


TOML_IN = '[[inbounds]]\nprotocol = "vmess"\nport = 1\n'

TOML_MISTAKES = [
    ("a = ", "", "not valid TOML", 1),
    ("a = 1\nb = [1\n", "", "not valid TOML", 3),
    ("a = 1\na = 2\n", "", "not valid TOML", 2),
    ("", "outbounds", "no outbound is configured", None),
    ("[outbounds]\nprotocol = 'freedom'", "outbounds", "write [[outbounds]]", 1),
    (TOML_IN + "userz = []", "inbounds[0].userz", "did you mean 'users'", 4),
    (TOML_IN + "clients = []", "inbounds[0].clients", "write 'users' instead", 4),
    (
        TOML_IN + "[inbounds.settings]",
        "inbounds[0].settings",
        "set the keys of 'settings' beside 'protocol'",
        4,
    ),
    (
        TOML_IN + "disableInsecureEncryption = true",
        "inbounds[0].disableInsecureEncryption",
        "TOML keys are snake_case; write 'disable_insecure_encryption' instead",
        4,
    ),
    (TOML_IN + "PORT = 1", "inbounds[0].PORT", "write 'port' instead", 4),
    (TOML_IN + "tag = 2020-01-01", "inbounds[0].tag", "found a date or a time", 4),
    (TOML_IN + "max_clock_skew = inf", "inbounds[0].max_clock_skew", "number of seconds", 4),
    (TOML_IN + "detour = 'x'", "inbounds[0].detour", "no inbound has the tag 'x'", 4),
    (
        TOML_IN + "users = [\n  {id = 'a'},\n  # two\n  {id = 'b', alter_id = 70000},\n]",
        "inbounds[0].users[1].alter_id",
        "0 to 65535",
        7,
    ),
    (
        TOML_IN + "[[inbounds.users]]\nid = 'a'\n[[inbounds.users]]\nlevel = 1\n",
        "inbounds[0].users[1].id",
        "'id' is missing",
        6,
    ),
    (
        (
            "[[inbounds]]\nport = 1\nprotocol = 'socks'\nauth = 'noauth'\n"
            "accounts = [{user = 'a', password = 'b'}]\n[[outbounds]]\nprotocol = 'freedom'"
        ),
        "inbounds[0].auth",
        "accounts have no effect",
        4,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\n",
        "outbounds[0]",
        "add 'servers', or 'address', 'port' and 'id'",
        1,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\ntimestamp_jitter = 31\n",
        "outbounds[0].timestamp_jitter",
        "0 to 30",
        3,
    ),
    ("[policy.levels.x]\nhandshake = 1", "policy.levels.x", "not a valid user level", 1),
    ("[routing]\nrules = 5", "routing.rules", "expected a list, found the number 5", 2),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), TOML_MISTAKES)
def test_problems_in_toml(text, where, message, line):
    check(text, "toml", where, message, line)


def check(text, kind, where, message, line):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", format=kind, environ={"BAD": "x"})
    problems = caught.value.problems
    matching = [each for each in problems if each.where == where and message in each.message]
    assert matching, textwrap.indent(str(caught.value), "  ")
    assert matching[0].line == line
    assert matching[0].file == "f"
    assert ID not in str(caught.value)


def test_all_problems_are_reported_at_once_in_file_order():
    text = """{
        "inbounds": [
            {"port": 70000, "protocol": "http"},
            {"port": 1, "protocol": "vmess", "settings": {"clients": [{"id": "", "level": "x"}]}}
        ],
        "outbounds": [{"protocol": "freedm"}],
        "unknown": 1
    }"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert [(each.line, each.where) for each in caught.value.problems] == [
        (3, "inbounds[0].port"),
        (4, "inbounds[1].settings.clients[0].id"),
        (4, "inbounds[1].settings.clients[0].level"),
        (6, "outbounds[0].protocol"),
        (7, "unknown"),
    ]


def test_secrets_are_not_shown():
    text = outbound(
        '{"protocol": "socks", "settings": {"servers": [{"address": "a.b", "port": 1, "users":'
        '[{"user": "u", "pass": "hunter2hunter2", "passs": "hunter2hunter2"}]}]}},'
        '{"protocol": "vmess", "settings": {"address": "a.b", "port": 1, "id": "' + ID + '00"}}'
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    shown = str(caught.value)
    assert "hunter2" not in shown
    assert ID[:9] not in shown
    assert ID[:8] in shown
