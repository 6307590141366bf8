"""The doctor in front of other implementations: they refuse, and answer, in ways of their own."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import attrs
import pytest

from tests.kit.carriers import BARE, CarrierSpec, has_carrier
from tests.kit.http_origin import start_http
from tests.kit.name_server import start_name_server
from tests.kit.nodes import vmess_outbound
from tests.kit.peers import PEERS, ClientSpec, ServerSpec, require
from tests.kit.ports import free_port
from trio_vmess.core import parse_host
from trio_vmess.diagnosis.doctor import Examination, Report, State, StepName, examine, read_target

OTHER_ID: Final = "00000000-0000-4000-8000-000000000001"
WS_TLS: Final = CarrierSpec(network="ws", tls=True)

pytestmark = [pytest.mark.limit(60), pytest.mark.parametrize("peer", PEERS)]

with_some_carriers: Final = pytest.mark.parametrize("carrier", [BARE, WS_TLS], ids=str)


@contextlib.asynccontextmanager
async def surroundings(target_port: int | None = None) -> AsyncIterator[Examination]:
    async with start_http() as origin, start_name_server() as names:
        yield Examination(
            target=read_target(f"127.0.0.1:{target_port or origin.port}"),
            name_server=(parse_host("127.0.0.1"), names.port),
            limit=6.0,
        )


async def diagnose(
    peer: str, client: ClientSpec, server: ServerSpec, target_port: int | None = None
) -> Report:
    require(PEERS[peer])
    if not has_carrier(peer, "server", server.carrier):
        pytest.skip(f"{peer} has no such carrier")
    async with surroundings(target_port) as means, PEERS[peer].start_server(server) as running:
        client = attrs.evolve(client, server_port=running.port)
        return await examine(vmess_outbound(client), means)


@pytest.mark.parametrize(
    "carrier",
    [
        BARE,
        WS_TLS,
        CarrierSpec(network="tcp-http"),
        CarrierSpec(network="httpupgrade"),
        CarrierSpec(network="h2", tls=True),
        CarrierSpec(network="grpc", tls=True),
    ],
    ids=str,
)
async def test_a_server_that_works_passes_every_step(peer: str, carrier: CarrierSpec) -> None:
    report = await diagnose(
        peer, ClientSpec(server_port=0, carrier=carrier, mux=True), ServerSpec(carrier=carrier)
    )
    assert report.is_ok


@with_some_carriers
async def test_a_wrong_id_is_the_first_cause(peer: str, carrier: CarrierSpec) -> None:
    report = await diagnose(
        peer,
        ClientSpec(server_port=0, carrier=carrier, user_id=OTHER_ID),
        ServerSpec(carrier=carrier),
    )
    assert report.state_of(StepName.AUTHENTICATION) is State.FAILED
    assert "user id" in report.remedy


@with_some_carriers
async def test_a_target_that_is_not_reached_is_told_from_a_wrong_id(
    peer: str, carrier: CarrierSpec
) -> None:
    report = await diagnose(
        peer,
        ClientSpec(server_port=0, carrier=carrier),
        ServerSpec(carrier=carrier),
        target_port=free_port(),
    )
    assert report.state_of(StepName.AUTHENTICATION) is State.OK
    assert report.state_of(StepName.REQUEST) is State.FAILED
    assert "another --target" in report.remedy


@with_some_carriers
async def test_legacy_headers_for_a_server_without(peer: str, carrier: CarrierSpec) -> None:
    report = await diagnose(
        peer, ClientSpec(server_port=0, carrier=carrier, alter_id=4), ServerSpec(carrier=carrier)
    )
    assert "set alterId to 0" in report.remedy
