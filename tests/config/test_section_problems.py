"""Mistakes in policy, routing and DNS settings."""

import pytest

from tests.config.problems import check_problem, routing, top

PROBLEMS = [
    # text, where, part of the message, line
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
    (
        routing('{"type": "field", "ip": "::1", "balancerTag": "b"}'),
        "routing.rules[0].balancerTag",
        "no balancer has the tag 'b'; none has a tag",
        3,
    ),
    (
        routing('{"type": "field", "ip": "::1", "outboundTag": "direct", "balancerTag": "b"}'),
        "routing.rules[0].balancerTag",
        "either an outbound or a balancer",
        3,
    ),
    (
        routing('{"type": "field", "ip": "::1"}'),
        "routing.rules[0].outboundTag",
        "the rule has no target",
        3,
    ),
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
    (
        top('"reverse": {"bridges": [{"tag": "b", "domain": "a.b"}]}'),
        "reverse.bridges",
        "reverse proxies are not supported; remove 'reverse'",
        2,
    ),
    (
        top('"reverse": {"bridges": [],\n"portals": [{"tag": "b", "domain": "a.b"}]}'),
        "reverse.portals",
        "reverse proxies are not supported",
        3,
    ),
    (top('"dns": {"servers": ["dns"]}'), "dns.servers[0]", "not a valid DNS server", 2),
    (top('"dns": {"servers": ["fakedns"]}'), "dns.servers[0]", "not supported", 2),
    (top('"dns": {"servers": [{}]}'), "dns.servers[0].address", "'address' is missing", 2),
    (top('"dns": {"hosts": {"a.b": "1.2.3.4:5"}}'), "dns.hosts.a.b", "contains a port", 2),
    (top('"dns": {"hosts": {"a.b": 5}}'), "dns.hosts.a.b", "found the number 5", 2),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), PROBLEMS)
def test_a_problem_is_reported_with_its_location(text, where, message, line):
    check_problem(text, "json", where, message, line)
