"""What follows from a mistake is not reported as another one, and guesses are near."""

import pytest

from tests.config.problems import FREEDOM, ID, inbound, routing, top
from trio_vmess.config import (
    Config,
    HttpInboundSettings,
    ProxyAccountSettings,
    VMessInboundSettings,
    parse_config,
)
from trio_vmess.config.values import nearest
from trio_vmess.core.vmess import parse_user_id
from trio_vmess.errors import ConfigError


def problems(text: str, kind: str = "json") -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, format="toml" if kind == "toml" else "json")
    return [(each.where, each.message) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[1, 2]", "", "expected an object"),
        ('{"outbounds": {"protocol": "freedom"}}', "outbounds", "expected a list"),
        ('{"outbunds": [{"protocol": "freedom"}]}', "outbunds", "did you mean 'outbounds'?"),
        (inbound('{"port": 1, "protocl": "http"}'), "inbounds[0].protocl", "'protocol'?"),
        (inbound('{"prot": 1, "protocol": "http"}'), "inbounds[0].prot", "did you mean 'port'?"),
        (
            routing('{"ip": ["10.0.0.0/33"], "outboundTag": "direct"}'),
            "routing.rules[0].ip[0]",
            "a network such as",
        ),
        (
            routing('{"domian": ["a.b"], "outboundTag": "direct"}'),
            "routing.rules[0].domian",
            "did you mean 'domain'?",
        ),
        (
            routing('{"ip": ["10.0.0.0/8"], "outbondTag": "direct"}'),
            "routing.rules[0].outbondTag",
            "did you mean 'outboundTag'?",
        ),
        (
            top('"routing": {"balancers": [{"tag": "b", "selector": [5]}]}'),
            "routing.balancers[0].selector[0]",
            "expected a string in quotes, found the number 5",
        ),
        ('{"outbounds": [{"protocol": 5}]}', "outbounds[0].protocol", "found the number 5"),
    ],
)
def test_one_mistake_is_one_problem(text: str, where: str, message: str) -> None:
    ((found, said),) = problems(text)
    assert found == where
    assert message in said


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[outbounds]\nprotocol = 'freedom'", "outbounds", "write [[outbounds]]"),
        (
            "[[inbounds]]\nprotocl = 'vmess'\nport = 1\n[[outbounds]]\nprotocol = 'freedom'",
            "inbounds[0].protocl",
            "did you mean 'protocol'?",
        ),
    ],
)
def test_one_mistake_in_toml_is_one_problem(text: str, where: str, message: str) -> None:
    ((found, said),) = problems(text, "toml")
    assert found == where
    assert message in said


def test_mistakes_of_their_own_are_all_reported() -> None:
    text = '{"port": "x"}, {"prot": 5, "settings": {}}'
    assert [where for where, _ in problems(inbound(text))] == [
        "inbounds[0].protocol",
        "inbounds[0].port",
        "inbounds[1].protocol",
        "inbounds[1].prot",
    ]
    found = problems(routing('{"outboundTag": "direct"}, {"ip": ["x"]}'))
    assert [where for where, _ in found] == [
        "routing.rules[0]",
        "routing.rules[1].outboundTag",
        "routing.rules[1].ip[0]",
    ]


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("sock", "socks"),
        ("dokodemo", "dokodemo-door"),
        ("vmes", "vmess"),
        ("mixd", "mixed"),
        ("htpt", "http"),
        ("shadowsocks", None),
        ("tun", None),
        ("blackbox", None),
    ],
)
def test_a_guess_is_near(word: str, guess: str | None) -> None:
    assert nearest(word, ["vmess", "socks", "http", "mixed", "dokodemo-door"]) == guess


# Ids ----------------------------------------------------------------------------------------------

NAMED = '"inbounds": [{"protocol": "vmess", "port": 1, "settings": {"clients": [%s]}}]'


def load(clients: str, **environ: str) -> Config:
    return parse_config("{" + NAMED % clients + "," + FREEDOM + "}", environ=environ)


def test_an_id_that_is_not_a_uuid_is_warned_about_once() -> None:
    config = load('\n{"id": "ann"}, {"id": "bob"}')
    (warning,) = config.warnings
    assert (warning.line, warning.where) == (2, "inbounds[0].settings.clients[0].id")
    assert warning.message == (
        "not a UUID, but a name that stands for one, as in Xray and sing-box; V2Ray refuses it "
        "(and in 1 other place)"
    )


@pytest.mark.parametrize(
    "spelled", [ID, ID.upper(), ID.replace("-", ""), "{" + ID + "}", f"urn:uuid:{ID}", "env:ANN"]
)
def test_a_uuid_in_any_spelling_is_not_warned_about(spelled: str) -> None:
    config = load(f'{{"id": "{spelled}"}}', ANN=ID)
    assert config.warnings == ()
    protocol = config.inbounds[0].protocol
    assert isinstance(protocol, VMessInboundSettings)
    assert protocol.users[0].id == parse_user_id(ID)


def test_a_password_may_be_in_the_environment() -> None:
    text = top(
        '"inbounds": [{"protocol": "http", "port": 1, "settings": '
        '{"accounts": [{"user": "ann", "pass": "env:PASSWORD"}]}}]'
    )
    protocol = parse_config(text, environ={"PASSWORD": "secret"}).inbounds[0].protocol
    assert protocol == HttpInboundSettings(
        accounts=(ProxyAccountSettings(user="ann", password="secret"),)
    )


@pytest.mark.parametrize(
    "text",
    [
        top(NAMED % '{"id": "env:NOBODY"}'),
        (
            '{"outbounds": [{"protocol": "http", "settings": {"servers": [{"address": "a.b", '
            '"port": 1, "users": [{"user": "u", "pass": "env:NOBODY"}]}]}}]}'
        ),
    ],
)
def test_a_variable_that_is_not_set_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="environment variable 'NOBODY' is not set"):
        parse_config(text, environ={})
