"""The global ids of sockets: the same for as long as a socket lives, and no other socket's."""

import gc
import ipaddress
from typing import Final

import attrs
import pytest

from tests.kit.entropy import SeededEntropy
from tests.outbound.mux.test_mux_datagrams import DNS, NTP, Program
from trio_vmess.core import Flow, User
from trio_vmess.core.mux import GLOBAL_ID_SIZE, make_global_id
from trio_vmess.outbound.mux.source_ids import NO_ID, SourceIds

SOCKET: Final = Flow(destination=DNS, source="192.0.2.9:5000", inbound_tag="wireguard")


def make_ids(seed: int = 1) -> SourceIds:
    return SourceIds(SeededEntropy(seed))


def test_all_flows_of_an_association_have_one_id() -> None:
    ids, program = make_ids(), Program()
    flow = attrs.evolve(SOCKET, association=program)
    (found,) = {ids.find(attrs.evolve(flow, destination=each), 4) for each in (DNS, NTP, DNS)}
    assert len(found) == GLOBAL_ID_SIZE
    assert found != NO_ID


def test_each_family_of_an_association_has_an_id_of_its_own() -> None:
    ids, flow = make_ids(), attrs.evolve(SOCKET, association=Program())
    assert ids.find(flow, 4) != ids.find(flow, 6)


def test_associations_of_one_source_are_told_apart() -> None:
    ids, programs = make_ids(), [Program() for _ in range(100)]
    found = {ids.find(attrs.evolve(SOCKET, association=each), 4) for each in programs}
    assert len(found) == 100


def test_a_later_association_never_has_the_id_of_one_that_is_gone() -> None:
    ids, found = make_ids(), set[bytes]()
    for _ in range(100):
        found.add(ids.find(attrs.evolve(SOCKET, association=Program()), 4))
    assert len(found) == 100
    gc.collect()
    assert not ids._numbers


def test_a_socket_with_one_destination_is_known_by_its_source() -> None:
    ids = make_ids()
    assert ids.find(SOCKET, 4) == ids.find(attrs.evolve(SOCKET), 4) != NO_ID


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(SOCKET, source="192.0.2.9:5001"),
        attrs.evolve(SOCKET, inbound_tag="other"),
        attrs.evolve(SOCKET, user=User(id=b"ann")),
        attrs.evolve(SOCKET, destination=NTP),
        attrs.evolve(SOCKET, destination=attrs.evolve(DNS, host=ipaddress.ip_address("192.0.2.3"))),
    ],
    ids=["source", "inbound", "user", "port", "host"],
)
def test_whatever_makes_it_another_socket_makes_it_another_id(other: Flow) -> None:
    ids = make_ids()
    assert ids.find(other, 4) != ids.find(SOCKET, 4)


@pytest.mark.parametrize(
    "flow",
    [attrs.evolve(SOCKET, carrier="c0ffee"), attrs.evolve(SOCKET, source="")],
    ids=["by a carrier", "without a source"],
)
def test_what_cannot_be_told_apart_has_no_id(flow: Flow) -> None:
    assert make_ids().find(flow, 4) == NO_ID


def test_another_outbound_calls_the_same_socket_something_else() -> None:
    assert make_ids(1).find(SOCKET, 4) != make_ids(2).find(SOCKET, 4)


def test_ids_are_keyed_blake2b_of_a_name() -> None:
    # From hashlib, with 8 bytes of digest (RFC 7693).
    assert make_global_id(bytes(32), "a").hex() == "b23d2f344fe9a85d"
