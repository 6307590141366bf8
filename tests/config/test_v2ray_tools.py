"""What V2Ray's tools write, and V2Ray takes: it loads, with a warning for what has no effect."""

import pytest

from tests.config.problems import ID, check_problem, routing, top
from trio_vmess.config import (
    ApiSettings,
    Config,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    OutboundSettings,
    RoutingSettings,
    RuleSettings,
    SocksInboundSettings,
    parse_config,
    validate,
)
from trio_vmess.errors import ConfigError

# As a panel writes it: an inbound for its own questions, and policies that count.
PANEL = """{
  "log": {"loglevel": "warning", "access": "none", "dnsLog": false},
  "api": {"services": ["HandlerService", "LoggerService", "StatsService"], "tag": "api"},
  "inbounds": [
    {"listen": "127.0.0.1", "port": 62789, "protocol": "dokodemo-door",
     "settings": {"address": "127.0.0.1"}, "streamSettings": null, "tag": "api", "sniffing": null},
    {"listen": null, "port": 10086, "protocol": "vmess", "tag": "inbound-10086",
     "settings": {"clients": [{"id": "%s", "alterId": 0}], "disableInsecureEncryption": false}}],
  "outbounds": [
    {"protocol": "freedom", "settings": {}},
    {"protocol": "blackhole", "settings": {}, "tag": "blocked"}],
  "policy": {
    "levels": {"0": {"statsUserUplink": true, "statsUserDownlink": true, "statsUserOnline": true}},
    "system": {"statsInboundDownlink": true, "statsInboundUplink": true,
               "overrideAccessLogDest": true}},
  "routing": {"rules": [
    {"inboundTag": ["api"], "outboundTag": "api", "type": "field"},
    {"ip": ["geoip:private"], "outboundTag": "blocked", "type": "field"},
    {"outboundTag": "blocked", "protocol": ["bittorrent"], "type": "field"}]},
  "stats": {}
}"""


def warnings_of(text: str) -> list[tuple[int | None, str, str]]:
    return [(each.line, each.where, each.message) for each in parse_config(text).warnings]


def test_what_a_panel_writes_loads_without_its_api() -> None:
    config = parse_config(PANEL % ID)
    assert [inbound.tag for inbound in config.inbounds] == ["inbound-10086"]
    assert config.api == ApiSettings(tag="api", inbound_tags=("api",))
    assert [(each.line, each.where) for each in config.warnings] == [
        (2, "log.dnsLog"),
        (3, "api"),
        (5, "inbounds[0]"),
        (13, "policy.levels.0.statsUserOnline"),
        (15, "policy.system.overrideAccessLogDest"),
    ]
    assert all(each.message.startswith("ignored") for each in config.warnings)


API_DOOR = '{"tag": "door", "port": 5, "listen": "127.0.0.1", "protocol": "Dokodemo-Door", %s}'
TO_API = '"routing": {"rules": [{"inboundTag": ["door"], "outboundTag": "%s"}]}'


@pytest.mark.parametrize(
    "settings",
    [
        '"settings": {"address": "127.0.0.1"}',
        '"settings": {"address": "127.0.0.1", "port": 0}',
        '"settings": {"address": "127.0.0.1", "port": 8080, "network": "tcp"}',
        '"settings": null',
    ],
)
@pytest.mark.parametrize("api", ['"api": {"tag": "panel", "services": []},', ""])
def test_the_inbound_of_the_api_is_not_opened(settings: str, api: str) -> None:
    rule = TO_API % ("panel" if api else "api")
    config = parse_config(top(f'{api}{rule},\n"inbounds": [{API_DOOR % settings}]'))
    assert config.inbounds == ()
    assert config.api is not None
    assert config.api.inbound_tags == ("door",)
    warning = config.warnings[-1]
    assert (warning.line, warning.where) == (3, "inbounds[0]")
    assert warning.message == "ignored, and not listened on: V2Ray's control API is not supported"


def test_an_inbound_from_which_a_rule_leads_elsewhere_is_opened() -> None:
    door = API_DOOR % '"settings": {"address": "192.0.2.1", "port": 80}'
    rules = [
        '{"inboundTag": "door", "port": 80, "outboundTag": "api"}',
        '{"inboundTag": "door", "outboundTag": "direct"}',
    ]
    text = f'"routing": {{"rules": [{",".join(rules)}]}}, "inbounds": [{door}]'
    (inbound,) = parse_config(top(f'"api": {{"tag": "api"}}, {text}')).inbounds
    assert isinstance(inbound.protocol, DokodemoInboundSettings)


def test_an_outbound_called_api_is_an_outbound() -> None:
    check_problem(
        '{"outbounds": [{"protocol": "freedom", "tag": "api"}],\n'
        + (TO_API % "api")
        + ',\n"inbounds": ['
        + (API_DOOR % '"settings": {"address": "a.b"}')
        + "]}",
        "json",
        "inbounds[0].settings.port",
        "'port' is missing",
        3,
    )


def test_a_rule_for_an_inbound_that_does_not_exist_matches_nothing() -> None:
    text = routing('{"inboundTag": ["x", "dirct"], "outboundTag": "nowhere"}')
    found = warnings_of(text)
    # Where the rule leads to does not matter, so it is not reported.
    assert found == [
        (
            3,
            "routing.rules[0].inboundTag",
            f"no inbound has the tag '{tag}'; none has a tag. Nothing matches by it",
        )
        for tag in ("x", "dirct")
    ]


@pytest.mark.parametrize(
    ("tag", "guess"),
    [("dirct", "; did you mean 'direct'?"), ("x", "; existing tags: direct.")],
)
def test_an_outbound_that_does_not_exist_is_the_first(tag: str, guess: str) -> None:
    found = warnings_of(routing(f'{{"type": "field", "ip": "::1", "outboundTag": "{tag}"}}'))
    message = "What the rule matches takes the first outbound, as in V2Ray"
    assert found == [
        (3, "routing.rules[0].outboundTag", f"no outbound has the tag '{tag}'{guess} {message}")
    ]


@pytest.mark.parametrize(
    ("key", "where", "message"),
    [
        ("outbound_tag = 'x'\nports = [1]", "outbound_tag", "no outbound has the tag 'x'"),
        ("outbound_tag = 'd'\ninbound_tags = ['x']", "inbound_tags", "no inbound has the tag 'x'"),
    ],
)
def test_no_tool_writes_toml_so_there_a_tag_that_nothing_has_is_a_mistake(
    key: str, where: str, message: str
) -> None:
    text = f"[[outbounds]]\nprotocol = 'freedom'\ntag = 'd'\n[[routing.rules]]\n{key}\n"
    line = 5 if where == "outbound_tag" else 6
    check_problem(text, "toml", f"routing.rules[0].{where}", message, line)


def test_settings_built_in_python_must_name_what_exists() -> None:
    config = Config(
        outbounds=(OutboundSettings(protocol=FreedomOutboundSettings(), tag="direct"),),
        routing=RoutingSettings(rules=(RuleSettings(ports=((1, 1),), outbound_tag="dirct"),)),
    )
    with pytest.raises(ConfigError, match="did you mean 'direct'"):
        validate(config)


def test_v2rayns_client_with_its_rules() -> None:
    config = parse_config("""{
      "inbounds": [
        {"tag": "socks", "port": 10808, "listen": "127.0.0.1", "protocol": "socks",
         "settings": {"auth": "noauth", "udp": true, "allowTransparent": false}},
        {"tag": "http", "port": 10809, "listen": "127.0.0.1", "protocol": "http",
         "settings": {"auth": "noauth", "udp": true, "allowTransparent": false}}],
      "outbounds": [{"tag": "direct", "protocol": "freedom"}],
      "routing": {"rules": [
        {"type": "field", "inboundTag": ["api"], "outboundTag": "api", "enabled": true},
        {"id": "5465425548310166497", "type": "field", "outboundTag": "direct",
         "domain": ["full:a.b"], "enabled": true},
        {"id": "5425034033205580637", "type": "field", "outboundTag": "direct",
         "ip": ["10.0.0.0/8"], "enabled": true, "remarks": "inside"}]}
    }""")
    socks, http = config.inbounds
    assert socks.protocol == SocksInboundSettings(udp=True)
    assert http.protocol.accounts == ()
    assert [(each.line, each.where, each.message) for each in config.warnings] == [
        (
            4,
            "inbounds[0].settings.allowTransparent",
            "ignored: it applies to HTTP inbounds only",
        ),
        (
            6,
            "inbounds[1].settings.auth",
            "ignored: an HTTP inbound asks for a password if it has accounts",
        ),
        (6, "inbounds[1].settings.udp", "ignored: an HTTP inbound has no datagrams"),
        (
            9,
            "routing.rules[0].inboundTag",
            "no inbound has the tag 'api'; existing tags: http, socks. Nothing matches by it",
        ),
        (
            9,
            "routing.rules[0].enabled",
            "ignored: as in V2Ray, every rule is in force (and in 2 other places)",
        ),
        (
            10,
            "routing.rules[1].id",
            "ignored: rules have no ids (and in 1 other place)",
        ),
        (13, "routing.rules[2].remarks", "ignored: remarks are not used"),
    ]


def test_one_warning_is_enough_for_what_every_client_has() -> None:
    clients = ",".join(f'{{"id": "{n}", "security": "auto"}}\n' for n in range(1000))
    text = top(
        '"inbounds": [{"protocol": "vmess", "port": 1,\n"settings": {"clients": ['
        + clients
        + "]}}]"
    )
    found = [each for each in parse_config(text).warnings if each.where.endswith(".security")]
    (warning,) = found
    assert (warning.line, warning.where) == (3, "inbounds[0].settings.clients[0].security")
    assert warning.message == "ignored: the client chooses the cipher (and in 999 other places)"


@pytest.mark.parametrize("reverse", ["{}", "null", '{"bridges": [], "portals": []}'])
def test_reverse_proxies_that_are_not_there_are_no_problem(reverse: str) -> None:
    assert warnings_of(top(f'"reverse": {reverse}')) == []


def test_a_list_of_existing_tags_is_short() -> None:
    outbounds = ",".join(f'{{"protocol": "freedom", "tag": "a{n:02}"}}' for n in range(30))
    rule = '"routing": {"rules": [{"port": 1, "outboundTag": "elsewhere"}]}'
    ((_, _, message),) = warnings_of(f'{{"outbounds": [{outbounds}], {rule}}}')
    assert "existing tags: a00, a01, a02," in message
    assert "a09 and 20 more." in message
    assert "a10" not in message
