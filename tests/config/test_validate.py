"""Checks on the model itself: settings built in Python have no locations in a file."""

from ipaddress import ip_address

import pytest

from trio_vmess.config import (
    AllocateSettings,
    AllocateStrategy,
    Config,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundSettings,
    InboundUserSettings,
    MixedInboundSettings,
    OutboundSettings,
    PortRange,
    RoutingSettings,
    RuleSettings,
    SocksInboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
    check_role,
    validate,
)
from trio_vmess.core import Network
from trio_vmess.errors import ConfigError

FREEDOM = OutboundSettings(protocol=FreedomOutboundSettings(), tag="direct")
USER = InboundUserSettings(id=bytes(range(16)))


def http(port=PortRange(1, 1), **options):  # noqa: B008  (PortRange is frozen)
    return InboundSettings(protocol=HttpInboundSettings(), port=port, **options)


def problems_of(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return [(each.where, each.message) for each in caught.value.problems]


def test_problems_of_settings_built_in_python_have_key_paths():
    user = InboundUserSettings(id=USER.id, email="a")
    config = Config(
        inbounds=(
            InboundSettings(protocol=VMessInboundSettings(users=(user, user), detour="x")),
            http(tag="a"),
            http(tag="a", port=PortRange(1, 5)),
        ),
        routing=RoutingSettings(rules=(RuleSettings(outbound_tag="y"),)),
    )
    found = dict(problems_of(validate, config))
    assert list(found) == [
        "outbounds",
        "inbounds[2].tag",
        "inbounds[0].users[1].email",
        "inbounds[0].users[1].id",
        "inbounds[0].detour",
        "inbounds[2].port",
        "routing.rules[0]",
        "routing.rules[0].outbound_tag",
    ]
    assert found["inbounds[2].tag"] == (
        "duplicate tag: already used by 'inbounds[1].tag'; tags must be unique"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (http(), http(port=PortRange(2, 2))),
        (http(listen=ip_address("127.0.0.1")), http(listen=ip_address("127.0.0.2"))),
        (http(listen=ip_address("::")), http(listen=ip_address("0.0.0.0"))),
        (http(port=PortRange(0, 0)), http(port=PortRange(0, 0))),
        (
            http(),
            InboundSettings(
                port=PortRange(1, 1),
                protocol=DokodemoInboundSettings(
                    target_address="a", target_port=1, networks=(Network.UDP,)
                ),
            ),
        ),
    ],
)
def test_ports_without_conflict(one, other):
    validate(Config(inbounds=(one, other), outbounds=(FREEDOM,)))


def test_empty_tags_and_emails_are_no_duplicates():
    other = InboundUserSettings(id=bytes(16))
    inbound = InboundSettings(protocol=VMessInboundSettings(users=(USER, other)))
    unnamed = OutboundSettings(protocol=FreedomOutboundSettings())
    assert validate(Config(inbounds=(inbound,), outbounds=(unnamed, unnamed))) == ()


def test_an_id_may_serve_two_inbounds():
    inbounds = tuple(
        InboundSettings(protocol=VMessInboundSettings(users=(USER,)), port=PortRange(port, port))
        for port in (1, 2)
    )
    assert validate(Config(inbounds=inbounds, outbounds=(FREEDOM,))) == ()


def test_an_inbound_that_nobody_can_use_causes_a_warning():
    inbound = InboundSettings(protocol=VMessInboundSettings(), tag="a", port=PortRange(1, 1))
    (warning,) = validate(Config(inbounds=(inbound,), outbounds=(FREEDOM,)))
    assert warning.where == "inbounds[0]"
    assert "nobody can connect" in warning.message


@pytest.mark.parametrize(("last", "warning_count"), [(4, 1), (5, 1), (6, 0)])
def test_a_narrow_port_range_causes_a_warning(last, warning_count):
    inbound = InboundSettings(
        protocol=VMessInboundSettings(users=(USER,)),
        port=PortRange(1, last),
        allocate=AllocateSettings(strategy=AllocateStrategy.RANDOM),
    )
    assert len(validate(Config(inbounds=(inbound,), outbounds=(FREEDOM,)))) == warning_count


def test_a_server_needs_a_vmess_inbound():
    (problem,) = problems_of(check_role, Config(outbounds=(FREEDOM,)), "server")
    assert problem == ("inbounds", "a server needs an inbound with protocol 'vmess'; add one")


def test_a_client_needs_a_vmess_outbound_and_a_local_inbound():
    vmess_in = InboundSettings(protocol=VMessInboundSettings())
    found = problems_of(check_role, Config(inbounds=(vmess_in,), outbounds=(FREEDOM,)), "client")
    assert [where for where, _ in found] == ["outbounds", "inbounds"]
    assert "'socks', 'http', 'mixed' or 'dokodemo-door'" in found[1][1]


@pytest.mark.parametrize(
    "protocol",
    [
        SocksInboundSettings(),
        HttpInboundSettings(),
        MixedInboundSettings(),
        DokodemoInboundSettings(target_address="a", target_port=1),
    ],
)
def test_any_local_inbound_is_enough_for_a_client(protocol):
    vmess = OutboundSettings(protocol=VMessOutboundSettings(servers=()))
    config = Config(inbounds=(InboundSettings(protocol=protocol),), outbounds=(FREEDOM, vmess))
    check_role(config, "client")
    with pytest.raises(ConfigError):
        check_role(config, "server")


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4), (0, 65536)])
def test_a_wrong_port_range_is_refused(first, last):
    with pytest.raises(ValueError, match="not a valid port range"):
        PortRange(first, last)


def test_port_ranges():
    ports = PortRange(5, 9)
    assert len(ports) == 5
    assert ports.overlaps(PortRange(9, 9))
    assert not ports.overlaps(PortRange(10, 10))
    assert str(ports) == "5-9"
