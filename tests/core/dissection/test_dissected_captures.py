"""Live sessions of V2Ray, Xray and sing-box, dissected: all that is known of them is found."""

import hashlib
from typing import Any

import pytest

from tests.core.dissection.recordings import dissect, found, payload_of
from tests.core.mux.frames import NETWORKS
from tests.core.vmess.test_captures import CAPTURES, account_of, cut, destination_of, digest_of
from tests.kit.vectors import for_each, unpack
from trio_vmess.core import parse_host
from trio_vmess.core.dissection import (
    ChunkFound,
    DatagramFound,
    Direction,
    DirectionEnd,
    EndState,
    FrameFound,
    Item,
    RequestFound,
    ResponseFound,
)
from trio_vmess.core.mux import End, Keep, New
from trio_vmess.core.vmess import Command, HeaderForm, Security, SwitchAccount, parse_user_id


def check_frames(frames: list[FrameFound], expected: list[dict[str, Any]]) -> None:
    assert len(frames) == len(expected)
    for (frame), known in zip((each.frame for each in frames), expected, strict=True):
        assert frame.session_id == known["session_id"]
        assert {New: 1, Keep: 2, End: 3}[type(frame)] == known["status"]
        target = None
        if isinstance(frame, New | Keep):
            target = frame.destination if isinstance(frame, New) else frame.peer
            size, digest = digest_of(known.get("data", ""))
            data = frame.data or b""
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
        if isinstance(frame, New):
            assert frame.global_id.hex() == known.get("global_id", "").replace("0" * 16, "")
        if isinstance(frame, End):
            assert frame.is_error is bool(known["option"] & 2)
        if "address" in known:
            assert target is not None
            assert (target.host, target.port) == (parse_host(known["address"]), known["port"])
            assert target.network is NETWORKS[known["network"]]


def check_direction(
    items: list[Item], direction: Direction, known: dict[str, Any], wire: bytes
) -> None:
    chunks = found(items, ChunkFound, direction)
    (end,) = found(items, DirectionEnd, direction)
    assert end.offset == len(wire)
    if "chunk_sizes" in known:
        assert [chunk.size for chunk in chunks] == known["chunk_sizes"]
        assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
        assert [chunk.is_terminator for chunk in chunks[:-1]] == [False] * len(chunks[:-1])
        assert end.state is (EndState.TERMINATED if known["eof"] else EndState.BETWEEN_CHUNKS)
    else:
        assert end.state is EndState.RAW
    payload = payload_of(items, direction)
    if "payload" in known:
        found_digest = (len(payload), hashlib.sha256(payload).hexdigest())
        assert found_digest == digest_of(known["payload"])
    elif "frames" in known:
        check_frames(found(items, FrameFound, direction), known["frames"])
    else:
        datagrams = found(items, DatagramFound, direction)
        packets = [each.payload for each in datagrams or chunks if each.payload]
        for packet, expected in zip(packets, known["packets"], strict=True):
            size, digest = digest_of(expected["data"])
            assert (len(packet), hashlib.sha256(packet).hexdigest()) == (size, digest)
        peers = [(each.peer.host, each.peer.port) for each in datagrams]
        assert peers == [
            (parse_host(each["address"]), each["port"])
            for each in known["packets"]
            if "address" in each
        ]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "as it arrived"])
@for_each(CAPTURES)
def test_a_capture_is_found_field_by_field(capture: dict[str, Any], whole: bool) -> None:
    uplink, downlink = unpack(capture["client_to_server"]), unpack(capture["server_to_client"])
    items = dissect(
        account_of(capture),
        [uplink] if whole else cut(uplink, capture["client_writes"]),
        [downlink] if whole else cut(downlink, capture["server_writes"]),
        now=capture["captured_at"],
    )
    decoded = capture["decoded"]
    known = decoded["request_header"]
    (request,) = found(items, RequestFound)
    header = request.header
    assert request.form is HeaderForm(known["header"])
    assert request.timestamp == known["timestamp"]
    assert request.now == capture["captured_at"]
    is_legacy = request.form is HeaderForm.LEGACY
    assert request.alter_id == (known["alter_index"] if is_legacy else None)
    assert request.size == known["length"]
    assert header.body_iv.hex() == known["body_iv"]
    assert header.body_key.hex() == known["body_key"]
    assert header.response_auth == known["response_auth"]
    assert header.options == known["option"]
    assert header.security is Security(known["security"])
    assert header.command is Command(known["command"])
    assert header.destination == destination_of(known)
    assert header.padding.hex() == known["padding"]
    assert len(header.padding) == known["padding_len"]
    (response,) = found(items, ResponseFound)
    assert response.size == decoded["response_header"]["length"]
    assert response.header.options == decoded["response_header"]["option"]
    command = decoded["response_header"]["command"]
    assert response.command == int(command is not None)
    if command is not None:
        assert response.header.switch_account == SwitchAccount(
            port=command["port"],
            user_id=parse_user_id(command["uuid"]),
            alter_id_count=command["alter_id"],
            level=command["level"],
            minutes=command["valid_min"],
            host=parse_host(command["host"]) if command["host"] else None,
        )
    check_direction(items, Direction.UPLINK, decoded["request"], uplink)
    check_direction(items, Direction.DOWNLINK, decoded["response"], downlink)
