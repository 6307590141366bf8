"""Mistakes in outbounds."""

import pytest

from tests.config.problems import check_problem, outbound

PROBLEMS = [
    # text, where, part of the message, line
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
        "only a vmess outbound can share connections; set it to false",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "mux": {"enabled": true}, "settings": {"dialect": "document",\n'
            '"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"}}'
        ),
        "outbounds[0].mux.enabled",
        "the dialect 'document' has no command for it",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "settings": {"dialect": "document", "packetEncoding": "xudp",\n'
            '"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"}}'
        ),
        "outbounds[0].settings.packetEncoding",
        "the dialect 'document' has no command for it; set it to 'none'",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "mux": {"enabled": true, "xudpConcurrency": 8},\n'
            '"settings": {"packetEncoding": "packetaddr",\n'
            '"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"}}'
        ),
        "outbounds[0].mux.xudpConcurrency",
        "only XUDP can share connections, and the packet encoding is packetaddr",
        2,
    ),
    (
        outbound(
            '{"protocol": "vmess", "settings": {"packetEncoding": "packet",\n'
            '"address": "a", "port": 1, "id": "b831381d-6324-4d53-ad4f-8cda48b30811"}}'
        ),
        "outbounds[0].settings.packetEncoding",
        "packetaddr",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "mux": {"xudpProxyUDP443": "refuse"}}'),
        "outbounds[0].mux.xudpProxyUDP443",
        "expected one of reject, allow, skip",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "mux": {"enabled": 1}}'),
        "outbounds[0].mux.enabled",
        "expected true or false, found the number 1",
        2,
    ),
    (
        outbound('{"protocol": "freedom", "mux": {"concurrency":\n 1025}}'),
        "outbounds[0].mux.concurrency",
        "expected an integer from -32768 to 1024, found the number 1025",
        3,
    ),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), PROBLEMS)
def test_a_problem_is_reported_with_its_location(text, where, message, line):
    check_problem(text, "json", where, message, line)
