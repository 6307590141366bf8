"""Headers of the golden vectors, and what is said about those that cannot be read."""

from typing import Any

import attrs
import pytest

from tests.core.dissection.recordings import dissect, found, make_dissector, record
from tests.core.vmess.test_header import ILLEGAL, header_of
from tests.core.vmess.test_response import command_of
from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, account, request
from tests.kit.vectors import for_each, load
from trio_vmess.core import NEED_DATA
from trio_vmess.core.dissection import (
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    RequestFound,
    ResponseFound,
    Unreadable,
    Unrecognised,
    UserHashSearch,
)
from trio_vmess.core.dissection.headers import ResponseReader
from trio_vmess.core.vmess import (
    V2RAY,
    Account,
    ClientConnection,
    HeaderForm,
    parse_user_id,
)
from trio_vmess.core.vmess.security import BodyKeys

REQUESTS = [*load("aead_request"), *load("legacy_request")]


@for_each(REQUESTS)
def test_a_recorded_request_is_found_field_by_field(vector: dict[str, Any]) -> None:
    who = Account(
        user_id=parse_user_id(vector["uuid"]), alter_id_count=max(1, vector.get("alter_index", 0))
    )
    wire = bytes.fromhex(vector["wire"])
    now = vector["timestamp"] + 7
    ((direction, finding), *_rest) = dissect(who, [wire], now=now)
    assert direction is Direction.UPLINK
    if vector["name"] in ILLEGAL:
        assert isinstance(finding, Unreadable)
        assert "servers refuse it" in finding.reason
        assert ILLEGAL[vector["name"]] in finding.reason
        return
    is_legacy = "alter_index" in vector
    assert finding == RequestFound(
        size=len(wire),
        form=HeaderForm.LEGACY if is_legacy else HeaderForm.AEAD,
        timestamp=vector["timestamp"],
        now=now,
        alter_id=vector["alter_index"] if is_legacy else None,
        header=header_of(vector),
    )


@for_each(load("response"))
def test_a_recorded_response_is_found_field_by_field(vector: dict[str, Any]) -> None:
    recorded = record()
    (known,) = found(dissect(recorded.account, [recorded.uplink]), RequestFound)
    form = HeaderForm(vector["header"])
    asked = attrs.evolve(
        known,
        form=form,
        header=attrs.evolve(known.header, response_auth=vector["response_auth"]),
    )
    keys = BodyKeys(
        key=bytes.fromhex(vector["response_key"]), iv=bytes.fromhex(vector["response_iv"])
    )
    wire = bytes.fromhex(vector["wire"])
    reader = ResponseReader(keys, asked, V2RAY)
    for size in range(len(wire)):
        assert reader.read(wire[:size]) is NEED_DATA
    response = reader.read(wire + b"the body")
    assert isinstance(response, ResponseFound)
    assert response.size == len(wire)
    assert response.header.options == vector["option"]
    expected = command_of(vector["command"]) if vector["command"] else None
    assert response.header.switch_account == expected
    assert (reader.cipher is not None) is (form is HeaderForm.LEGACY)


# What cannot be read ------------------------------------------------------------------------------


def only_finding(who: Account, data: bytes, now: int = NOW) -> Unrecognised:
    (item,) = dissect(who, [data], [b"an answer"], now=now)
    direction, finding = item
    assert direction is Direction.UPLINK
    assert isinstance(finding, Unrecognised)
    return finding


def test_another_id_is_told_from_other_protocols_by_what_is_said() -> None:
    stranger = Account(user_id=parse_user_id("somebody else"), alter_id_count=2)
    finding = only_finding(stranger, record().uplink)
    assert finding.protocol is None
    assert finding.reason == (
        "it does not begin with an AEAD header of this id, nor with a legacy header of its main id "
        "or 2 alter ids (clocks off by up to 15 minutes or a time zone): another id or time, or "
        "not VMess"
    )


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (bytes.fromhex("160301020001000000") + bytes(20), "a TLS ClientHello"),
        (b"GET /tunnel HTTP/1.1\r\nHost: a.example\r\n\r\n", "an HTTP request"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "an SSH banner"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "a PROXY protocol v1 header"),
    ],
)
def test_other_protocols_are_named(data: bytes, protocol: str) -> None:
    finding = only_finding(account(), data)
    assert finding.protocol == protocol
    assert finding.reason == f"this is {protocol}, not VMess"


@pytest.mark.parametrize("alter_id_count", [0, 3], ids=["AEAD", "legacy"])
def test_a_header_of_the_id_that_is_damaged_is_not_taken_for_another_id(
    alter_id_count: int,
) -> None:
    recording = record(alter_id_count=alter_id_count)
    wire = bytearray(recording.uplink)
    wire[60] ^= 1
    items = dissect(recording.account, [bytes(wire)], [recording.downlink])
    (failure,) = found(items, Unreadable)
    assert "header of this id" in failure.reason
    ends = found(items, DirectionEnd)
    assert [end.state for end in ends] == [EndState.UNREADABLE] * 2
    assert [end.unread for end in ends] == [len(recording.uplink), len(recording.downlink)]


@pytest.mark.parametrize("alter_id_count", [0, 3], ids=["AEAD", "legacy"])
def test_the_answer_to_another_request_is_not_read(alter_id_count: int) -> None:
    recording = record(alter_id_count=alter_id_count)
    damaged = bytes((recording.downlink[0] ^ 1,)) + recording.downlink[1:]
    items = dissect(recording.account, [recording.uplink], [damaged])
    assert found(items, ResponseFound) == []
    (failure,) = found(items, Unreadable, Direction.DOWNLINK)
    assert failure.offset == 0
    assert found(items, DirectionEnd, Direction.UPLINK)[0].state is EndState.TERMINATED


def test_an_answer_may_come_before_its_request() -> None:
    recording = record()
    dissector = make_dissector(recording.account)
    assert dissector.receive(Direction.DOWNLINK, recording.downlink, now=NOW) == []
    assert dissector.end(Direction.DOWNLINK, EndedBy.FIN) == ()
    items = dissector.receive(Direction.UPLINK, recording.uplink, now=NOW)
    assert len(found(items, ResponseFound)) == 1
    assert [end.state for end in found(items, DirectionEnd)] == [EndState.TERMINATED]


def test_an_answer_without_a_request_is_not_kept_for_ever() -> None:
    dissector = make_dissector(account())
    assert dissector.receive(Direction.DOWNLINK, bytes(64 * 1024), now=NOW) == []
    items = dissector.receive(Direction.DOWNLINK, b"\0", now=NOW)
    (failure,) = found(items, Unreadable)
    assert failure.reason == "the server sent 65537 bytes before there was a request"


def test_a_connection_that_is_reset_before_its_header_is_whole_is_cut_off_there() -> None:
    recording = record()
    items = dissect(recording.account, [recording.uplink[:40]])
    assert found(items, DirectionEnd) == [
        DirectionEnd(offset=40, by=EndedBy.FIN, state=EndState.IN_HEADER, held=40),
        DirectionEnd(offset=0, by=EndedBy.FIN, state=EndState.NOTHING),
    ]


# Times --------------------------------------------------------------------------------------------


def legacy_request(alter_id_count: int, timestamp: int) -> tuple[Account, bytes]:
    who = account(alter_id_count)
    client = ClientConnection(entropy=SeededEntropy(3), jitter=0)
    return who, client.send(request(who, timestamp=timestamp))


@pytest.mark.parametrize(
    "offset", [0, 29, -120, 121, 899, -900, 7200, -1800, 14 * 3600, 5 * 3600 + 1800 - 20]
)
def test_a_legacy_header_is_found_though_the_clock_was_wrong(offset: int) -> None:
    who, wire = legacy_request(4, NOW + offset)
    (found_request,) = found(dissect(who, [wire]), RequestFound)
    assert found_request.timestamp - found_request.now == offset
    assert found_request.alter_id in range(1, 5)


def test_a_legacy_header_of_another_day_is_not_found() -> None:
    who, wire = legacy_request(4, NOW + 30 * 3600)
    only_finding(who, wire)


def test_a_search_among_very_many_ids_ends_at_the_window_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_vmess.core.dissection.user_hash._HASHES_MAX", 1000)
    who, wire = legacy_request(4, NOW + 120)
    search = UserHashSearch(who)
    assert search.reach == "its main id or 4 alter ids (clocks off by up to 120 s)"
    found_hash = search.find(wire[:16], now=NOW)
    assert found_hash is not None
    assert found_hash[0] == NOW + 120
    assert search.find(wire[:16], now=NOW - 1) is None


def test_an_aead_header_of_any_time_is_found() -> None:
    recording = record()
    (found_request,) = found(dissect(recording.account, [recording.uplink], now=1), RequestFound)
    assert found_request.timestamp == NOW
