"""The fuzz targets hold on a few examples, know what they are for, and can fail."""

import attrs
import pytest
from hypothesis import given

from tests.fuzz import fuzz_client, fuzz_server
from tests.fuzz.conversations import (
    ANSWER,
    CUTS,
    KINDS,
    PAYLOADS,
    Outcome,
    check_unaltered,
    compare,
    pieces_of,
)
from tests.fuzz.engine import mutated
from tests.kit.vectors import for_each
from trio_vmess.core.vmess import V2RAY, Data, EndOfStream, Request
from trio_vmess.errors import RemoteProtocolError


@given(mutated(fuzz_server.SEEDS))
def test_the_server_keeps_its_invariants(data: bytes) -> None:
    fuzz_server.check(data)


@given(mutated(fuzz_client.SEEDS))
def test_the_client_keeps_its_invariants(data: bytes) -> None:
    fuzz_client.check(data)


@for_each(range(2 * len(KINDS)), name=str)
def test_a_recorded_conversation_is_understood(index: int) -> None:
    wire, dialect = fuzz_server.to_wire(fuzz_server.SEEDS[index])
    heard = fuzz_server.converse([wire], dialect)
    kind = KINDS[index // 2]
    assert isinstance(heard.header, Request)
    assert (heard.header.security, heard.header.command) == (kind.security, kind.command)
    assert heard.error is None
    assert b"".join(heard.payloads) == b"".join(PAYLOADS)

    wire, answered = fuzz_client.to_wire(fuzz_client.SEEDS[index])
    assert answered is kind
    heard = fuzz_client.converse([wire], kind)
    assert heard.header == ANSWER
    assert heard.error is None
    # Behind a legacy header, a CFB body goes on in a stream that only the server has.
    if not index % 2:
        assert b"".join(heard.payloads) == b"".join(PAYLOADS)


@pytest.mark.parametrize("cut", CUTS)
def test_pieces_make_up_the_whole(cut: int | None) -> None:
    data = bytes(range(256)) * 4
    assert b"".join(pieces_of(data, cut)) == data


HEARD = Outcome(header=ANSWER, payloads=[PAYLOADS[0]], end=EndOfStream())


FAULT = RemoteProtocolError("chunk: wrong tag")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(attrs.evolve(HEARD, header=None), id="header"),
        pytest.param(attrs.evolve(HEARD, payloads=[b"hellO"]), id="altered"),
        pytest.param(attrs.evolve(HEARD, payloads=[b"hello", b"x"]), id="more"),
        pytest.param(attrs.evolve(HEARD, end=EndOfStream(explicit=False)), id="end"),
        pytest.param(attrs.evolve(HEARD, sent=b"more"), id="sent"),
        pytest.param(attrs.evolve(HEARD, error=FAULT), id="error"),
    ],
)
def test_a_difference_is_noticed(other: Outcome) -> None:
    request = KINDS[0].request()
    compare(HEARD, attrs.evolve(HEARD, payloads=[b"hel", b"lo"]), request=request, dialect=V2RAY)
    with pytest.raises(ValueError, match="the split matters"):
        compare(HEARD, other, request=request, dialect=V2RAY)


def test_a_fault_may_swallow_what_came_with_it_and_no_more() -> None:
    request = KINDS[0].request()
    early = Outcome(header=ANSWER, payloads=[], error=FAULT)
    late = Outcome(header=ANSWER, payloads=[b"hello"], error=FAULT)
    compare(early, late, request=request, dialect=V2RAY)
    other = Outcome(header=ANSWER, payloads=[b"help"], error=FAULT)
    with pytest.raises(ValueError, match="the split matters"):
        compare(late, other, request=request, dialect=V2RAY)


@pytest.mark.parametrize("are_datagrams", [False, True])
def test_altered_payload_is_noticed(are_datagrams: bool) -> None:
    check_unaltered(HEARD, are_datagrams=are_datagrams)
    altered = attrs.evolve(HEARD, payloads=[b"jello"])
    with pytest.raises(ValueError, match="altered payload"):
        check_unaltered(altered, are_datagrams=are_datagrams)


def test_an_event_out_of_order_is_noticed() -> None:
    with pytest.raises(ValueError, match="out of order"):
        Outcome().take(Data(payload=b"before any header"))
    with pytest.raises(ValueError, match="out of order"):
        attrs.evolve(HEARD).take(Data(payload=b"behind the end"))
