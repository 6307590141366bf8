"""What transparent proxying is read from, and what is said about it."""

import pytest

from tests.config.problems import FREEDOM
from tests.config.streams import inbound_of
from trio_vmess.config import (
    Config,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    InboundSettings,
    OutboundSettings,
    TransparentProxy,
    validate,
)
from trio_vmess.core import Network
from trio_vmess.errors import ConfigError

DIRECT = OutboundSettings(protocol=FreedomOutboundSettings())


def toml(keys: str) -> str:
    return (
        '[[outbounds]]\nprotocol = "freedom"\n'
        f'[[inbounds]]\nprotocol = "dokodemo-door"\nport = 1\n{keys}\n'
    )


def json(settings: str, sockopt: str = "{}") -> str:
    return (
        '{"inbounds": [{"protocol": "dokodemo-door", "port": 1, "settings": '
        f'{settings}, "streamSettings": {{"sockopt": {sockopt}}}}}], {FREEDOM}}}'
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (toml('follow_redirect = true\nsocket = { tproxy = "tproxy" }'), "toml"),
        (json('{"followRedirect": true}', '{"tproxy": "TProxy"}'), "json"),
        (json('{"followRedirect": true, "port": 0}', '{"tproxy": "tproxy"}'), "json"),
    ],
)
def test_both_formats_say_the_same(text, kind):
    inbound, warnings = inbound_of(text, kind)
    assert warnings == []
    assert inbound.protocol == DokodemoInboundSettings(follow_redirect=True)
    assert inbound.transparent_proxy is TransparentProxy.TPROXY


@pytest.mark.parametrize("sockopt", ["{}", '{"tproxy": ""}', '{"tproxy": "redirect"}'])
def test_who_follows_is_redirected_to_as_in_v2ray(sockopt):
    inbound, _ = inbound_of(json('{"followRedirect": true}', sockopt), "json")
    assert inbound.transparent_proxy is TransparentProxy.REDIRECT


@pytest.mark.parametrize(
    ("settings", "sockopt", "where", "message"),
    [
        (
            '{"followRedirect": true}',
            '{"tproxy": "off"}',
            "streamSettings.sockopt.tproxy",
            "followed all the same, as in V2Ray",
        ),
        (
            '{"address": "a.b", "port": 1}',
            '{"tproxy": "tproxy"}',
            "streamSettings.sockopt.tproxy",
            "all connections go to the one destination",
        ),
        (
            '{"followRedirect": true, "address": "a.b"}',
            '{"tproxy": "tproxy"}',
            "settings.address",
            "needs an address and a port",
        ),
        (
            '{"followRedirect": true, "address": "a.b", "port": 53, "network": "tcp,udp"}',
            '{"tproxy": "redirect"}',
            "settings.followRedirect",
            "all of them go to a.b:53",
        ),
    ],
)
def test_a_redirection_that_does_not_lead_where_it_seems_to(settings, sockopt, where, message):
    ((found, text),) = inbound_of(json(settings, sockopt), "json")[1]
    assert found == f"inbounds[0].{where}"
    assert message in text


def test_an_inbound_that_goes_nowhere():
    for networks in ((Network.TCP,), (Network.TCP, Network.UDP)):
        inbound = InboundSettings(protocol=DokodemoInboundSettings(networks=networks))
        with pytest.raises(ConfigError, match="the destination of all connections is missing"):
            validate(Config(inbounds=(inbound,), outbounds=(DIRECT,)))
