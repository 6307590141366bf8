"""The table of carriers, and their translations."""

import json
from collections.abc import Callable

import pytest

from tests.kit.carriers import (
    CARRIER_FEATURES,
    CARRIERS,
    SERVER_NAME,
    CarrierSpec,
    Role,
    can_meet,
    has_carrier,
)
from tests.kit.node_carriers import node_stream
from tests.kit.peer_carriers import Json, sing_box_carrier, v2ray_stream, xray_stream
from tests.kit.peer_configs import (
    v2ray_configuration,
    v2ray_socks_inbound,
    v2ray_vmess_inbounds,
    v2ray_vmess_outbound,
)
from tests.kit.peers import PEERS, ClientSpec, ServerSpec
from trio_vmess.config import StreamSettings, parse_config

ROLES: tuple[Role, ...] = ("client", "server")
TRANSLATIONS: dict[str, Callable[[CarrierSpec, Role], Json]] = {
    "v2ray": v2ray_stream,
    "xray": xray_stream,
    "sing-box": sing_box_carrier,
}


def test_carriers_have_names_of_their_own() -> None:
    assert len({str(carrier) for carrier in CARRIERS}) == len(CARRIERS)
    assert str(CarrierSpec(network="ws", tls=True, early_data=10)) == "ws+tls+early-header"
    assert str(CarrierSpec(network="h2")) == "h2"


def test_the_table_is_about_the_peers() -> None:
    assert set(CARRIER_FEATURES) == {(peer, role) for peer in PEERS for role in ROLES}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("role", ROLES)
def test_what_a_peer_has_can_be_written_down_for_it(peer: str, role: Role) -> None:
    carriers = [carrier for carrier in CARRIERS if has_carrier(peer, role, carrier)]
    texts = [json.dumps(TRANSLATIONS[peer](carrier, role)) for carrier in carriers]
    for carrier, text in zip(carriers, texts, strict=True):
        assert ("BEGIN CERTIFICATE" in text) is carrier.tls
        assert ("PRIVATE KEY" in text) is (carrier.tls and role == "server")


@pytest.mark.parametrize("peer", ["v2ray", "xray"])
@pytest.mark.parametrize("role", ROLES)
def test_what_is_written_for_a_peer_means_the_same_to_us(peer: str, role: Role) -> None:
    """So that a peer's configuration file can be given to a node as it is."""
    for carrier in CARRIERS:
        if has_carrier(peer, role, carrier):
            stream = TRANSLATIONS[peer](carrier, role)
            assert _read(stream, role) == node_stream(carrier, role), carrier


def _read(stream: Json, role: Role) -> StreamSettings:
    client, server = ClientSpec(server_port=1), ServerSpec()
    if role == "client":
        inbounds = [v2ray_socks_inbound(client, "127.0.0.1", 1080)]
        text = v2ray_configuration(inbounds, v2ray_vmess_outbound(client, stream))
    else:
        freedom = {"protocol": "freedom", "settings": {}}
        text = v2ray_configuration(v2ray_vmess_inbounds(server, 1, stream), freedom)
    config = parse_config(json.dumps(text), file="config.json")
    return (config.outbounds if role == "client" else config.inbounds)[0].stream


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
def test_our_nodes_have_settings_for_every_carrier(carrier: CarrierSpec, role: Role) -> None:
    stream = node_stream(carrier, role)
    assert (stream.tls is not None) is carrier.tls
    if stream.tls is not None:
        assert bool(stream.tls.certificates) is (role == "server")
        assert (stream.tls.server_name == SERVER_NAME) is (role == "client")


def test_every_carrier_is_tried_against_a_peer_in_each_role() -> None:
    for carrier in CARRIERS:
        assert any(has_carrier(peer, "server", carrier) for peer in PEERS)
        # Nobody's client speaks HTTP/2 without TLS.
        assert any(has_carrier(peer, "client", carrier) for peer in PEERS) or (
            carrier.network == "h2" and not carrier.tls
        )


def test_xray_and_sing_box_do_not_meet_by_httpupgrade() -> None:
    carrier = CarrierSpec(network="httpupgrade")
    assert not can_meet("xray", "sing-box", carrier)
    assert can_meet("sing-box", "xray", carrier)
