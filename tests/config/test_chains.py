"""Outbounds that go through other outbounds: `through`, V2Ray's `proxySettings`."""

import pytest

from tests.config.problems import ID, check_problem
from trio_vmess.config import parse_config

SOCKS = (
    '{"tag": "%s", "protocol": "socks", "settings": {"servers": [{"address": "a.b", "port": 1}]},'
    ' "proxySettings": {"tag": "%s"}%s}'
)
FREEDOM = '{"tag": "direct", "protocol": "freedom"}'


def outbounds(*texts: str) -> str:
    return '{"outbounds": [\n' + ",\n".join(texts) + "\n]}"


def test_both_formats_name_the_outbound() -> None:
    from_json = parse_config(outbounds(SOCKS % ("a", "direct", ""), FREEDOM))
    from_toml = parse_config(
        '[[outbounds]]\ntag = "a"\nprotocol = "socks"\nthrough = "direct"\n'
        'servers = [{ address = "a.b", port = 1 }]\n'
        '[[outbounds]]\ntag = "direct"\nprotocol = "freedom"\n'
    )
    assert from_json.outbounds == from_toml.outbounds
    assert from_json.outbounds[0].through == "direct"
    assert from_json.warnings == from_toml.warnings == ()


@pytest.mark.parametrize(
    ("texts", "index", "message"),
    [
        ((SOCKS % ("a", "dirct", ""), FREEDOM), 0, "did you mean 'direct'?"),
        ((SOCKS % ("a", "a", ""),), 0, "go round in a circle: a → a"),
        (
            (SOCKS % ("a", "b", ""), SOCKS % ("b", "a", "")),
            1,
            "go round in a circle: b → a → b",
        ),
        (
            (FREEDOM[:-1] + ', "proxySettings": {"tag": "x"}}', SOCKS % ("x", "", "")),
            0,
            "a freedom outbound connects directly",
        ),
        (
            (SOCKS % ("a", "b", ""), '{"tag": "b", "protocol": "blackhole"}'),
            0,
            "'b' is a blackhole: no server can be reached",
        ),
    ],
)
def test_what_leads_nowhere_is_an_error(texts: tuple[str, ...], index: int, message: str) -> None:
    where = f"outbounds[{index}].proxySettings.tag"
    check_problem(outbounds(*texts), "json", where, message, index + 2)


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (', "sendThrough": "192.0.2.1"', "outbounds[0].sendThrough"),
        (', "streamSettings": {"sockopt": {"mark": 5}}', "outbounds[0].streamSettings.sockopt"),
    ],
)
def test_settings_of_sockets_have_no_effect(more: str, where: str) -> None:
    (warning,) = parse_config(outbounds(SOCKS % ("a", "direct", more), FREEDOM)).warnings
    assert (warning.line, warning.where) == (2, where)
    assert warning.message == "ignored: the outbound 'direct' opens the sockets"


def test_a_chain_of_three() -> None:
    server = f'{{"address": "a.b", "port": 1, "id": "{ID}"}}'
    vmess = f'{{"tag": "c", "protocol": "vmess", "settings": {server}}}'
    config = parse_config(outbounds(SOCKS % ("a", "b", ""), SOCKS % ("b", "c", ""), vmess))
    assert [each.through for each in config.outbounds] == ["b", "c", ""]


def test_no_connections_are_kept_in_reserve() -> None:
    text = f'''
[[outbounds]]
protocol = "vmess"
address = "a.example"
port = 1
id = "{ID}"
spare_connections = 2
through = "direct"
[[outbounds]]
tag = "direct"
protocol = "freedom"
'''
    (warning,) = parse_config(text, format="toml").warnings
    assert (warning.line, warning.where) == (8, "outbounds[0].through")
    assert "no spare connections are kept" in warning.message
