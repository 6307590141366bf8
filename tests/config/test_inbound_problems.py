"""Mistakes in inbounds."""

import pytest

from tests.config.problems import ID, ID2, check_problem, inbound, vmess

PROBLEMS = [
    # text, where, part of the message, line
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
        inbound(
            '{"protocol": "dokodemo-door", "port": 1, "settings":\n'
            '{"followRedirect": true, "network": "udp"}}'
        ),
        "inbounds[0].settings.followRedirect",
        "do not tell where they were going; use 'tproxy'",
        3,
    ),
    (
        inbound(
            '{"protocol": "dokodemo-door", "listen": "/run/x", "settings":\n'
            '{"followRedirect": true}}'
        ),
        "inbounds[0].settings.followRedirect",
        "cannot be redirected to a Unix socket",
        3,
    ),
    (
        inbound(
            '{"protocol": "http", "port": 1, "streamSettings": {"sockopt":\n{"tproxy": "tproxy"}}}'
        ),
        "inbounds[0].streamSettings.sockopt.tproxy",
        "only an inbound with protocol 'dokodemo-door'",
        3,
    ),
    (
        inbound(
            '{"protocol": "http", "port": 1, "streamSettings": {"sockopt":\n{"tproxy": "on"}}}'
        ),
        "inbounds[0].streamSettings.sockopt.tproxy",
        "unknown value 'on': expected one of off, redirect, tproxy",
        3,
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
]


@pytest.mark.parametrize(("text", "where", "message", "line"), PROBLEMS)
def test_a_problem_is_reported_with_its_location(text, where, message, line):
    check_problem(text, "json", where, message, line)
