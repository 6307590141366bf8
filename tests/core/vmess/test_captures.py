"""Live sessions of V2Ray, Xray and sing-box, replayed against our server and our client."""

import hashlib
from typing import Any

import pytest

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import events_of, payload_of
from tests.kit.scripted_entropy import ScriptedEntropy
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import Destination, Network, parse_host
from trio_vmess.core.vmess import (
    Account,
    ClientConnection,
    Command,
    Data,
    EndOfStream,
    HeaderForm,
    ReplayCache,
    Request,
    Response,
    Security,
    ServerConnection,
    UserRegistry,
    format_user_id,
    parse_user_id,
)
from trio_vmess.core.vmess.header import MUX_DESTINATION

CAPTURES = [
    capture
    for name in (
        "captures_v2ray_tcp",
        "captures_v2ray_udp",
        "captures_xray_tcp",
        "captures_xray_udp",
        "captures_singbox_tcp",
        "captures_singbox_legacy",
        "captures_singbox_udp",
    )
    for capture in load(name)
]


def destination_of(header: dict[str, Any]) -> Destination:
    if header["command"] == Command.MUX:
        return MUX_DESTINATION
    return Destination(
        host=parse_host(header["address"]),
        port=header["port"],
        network=Network.UDP if header["command"] == Command.UDP else Network.TCP,
    )


def digest_of(value: str | dict[str, Any]) -> tuple[int, str]:
    """Return size and SHA-256 of bytes that are given as hex, or by just these two."""
    if isinstance(value, dict):
        return value["len"], value["sha256"]
    data = bytes.fromhex(value)
    return len(data), hashlib.sha256(data).hexdigest()


def check_body(decoded: dict[str, Any], events: list[Any], plain: bytes) -> None:
    payload = payload_of(events)
    if "payload" in decoded:
        assert (len(payload), hashlib.sha256(payload).hexdigest()) == digest_of(decoded["payload"])
        assert payload == plain
    elif "packets" in decoded:
        packets = [event.payload for event in events if isinstance(event, Data)]
        assert len(packets) == len(decoded["packets"])
        for packet, expected in zip(packets, decoded["packets"], strict=True):
            size, sha256 = digest_of(expected["data"])
            if "address" in expected:  # packetaddr: type, address, port in front
                packet = packet[3 + len(parse_host(expected["address"]).packed) :]  # type: ignore[union-attr]
            assert (len(packet), hashlib.sha256(packet).hexdigest()) == (size, sha256)
    else:
        # Mux frames are another layer's; what they carry must be in there.
        for frame in decoded["frames"]:
            if isinstance(frame.get("data"), str):
                assert bytes.fromhex(frame["data"]) in payload
    assert events[-1] == EndOfStream(explicit=decoded["eof"])


def account_of(capture: dict[str, Any]) -> Account:
    # One capture has a user without alter ids in a legacy header: V2Ray 4.34 takes the main id of
    # everyone, we only of users who have alter ids.
    legacy = capture["decoded"]["request_header"]["header"] == "legacy"
    return Account(
        user_id=parse_user_id(capture["user_id"]),
        alter_id_count=max(capture["alter_id"], int(legacy)),
    )


def secret_of(header: dict[str, Any], padding: bytes, auth: bytes = bytes(12)) -> bytes:
    """Return what a client has to draw to write this header."""
    return (
        bytes.fromhex(header["body_iv"])
        + bytes.fromhex(header["body_key"])
        + bytes((header["response_auth"], len(padding)))
        + padding.ljust(15, b"\0")
        + auth
    )


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*filter(None, [*pieces, data[start:]])]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "as it arrived"])
@for_each(CAPTURES)
def test_server_understands_real_clients(capture: dict[str, Any], whole: bool) -> None:
    account = account_of(capture)
    users = UserRegistry([account])
    assert users.prepare(capture["captured_at"], budget=10**6)
    server = ServerConnection(users, ReplayCache(window=users.window), entropy=SeededEntropy())
    wire = unpack(capture["client_to_server"])
    events = []
    for piece in [wire] if whole else cut(wire, capture["client_writes"]):
        server.receive_data(piece, now=capture["captured_at"])
        events += events_of(server)
    server.receive_eof()
    events += events_of(server)

    header = capture["decoded"]["request_header"]
    assert events[0] == Request(
        account=account,
        destination=destination_of(header),
        command=Command(header["command"]),
        security=Security(header["security"]),
        options=header["option"],
        timestamp=header["timestamp"],
        form=HeaderForm(header["header"]),
    )
    check_body(capture["decoded"]["request"], events[1:], b"".join(map(unpack, capture["sent"])))


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "as it arrived"])
@for_each(CAPTURES)
def test_client_understands_real_servers(capture: dict[str, Any], whole: bool) -> None:
    header = capture["decoded"]["request_header"]
    padding = bytes.fromhex(header["padding"])
    client = ClientConnection(
        entropy=ScriptedEntropy([secret_of(header, padding)], [30, 0]),
    )
    client.send(
        Request(
            account=account_of(capture),
            destination=destination_of(header),
            command=Command(header["command"]),
            security=Security(header["security"]),
            options=header["option"],
            timestamp=header["timestamp"],
        )
    )
    wire = unpack(capture["server_to_client"])
    events = []
    for piece in [wire] if whole else cut(wire, capture["server_writes"]):
        client.receive_data(piece)
        events += events_of(client)
    client.receive_eof()
    events += events_of(client)

    answer = capture["decoded"]["response_header"]
    assert isinstance(events[0], Response)
    assert events[0].options == answer["option"]
    command, expected = events[0].switch_account, answer["command"]
    if expected is None:
        assert command is None
    else:
        assert command is not None
        assert (command.host, command.port) == (expected["host"] or None, expected["port"])
        assert format_user_id(command.user_id) == expected["uuid"]
        assert command.alter_id_count == expected["alter_id"]
        assert (command.level, command.minutes) == (expected["level"], expected["valid_min"])
    check_body(
        capture["decoded"]["response"], events[1:], b"".join(map(unpack, capture["received"]))
    )


@for_each(load("aead_request") + load("legacy_request"))
def test_client_writes_recorded_headers_to_the_byte(vector: dict[str, Any]) -> None:
    if vector["name"] in ("security-0-unknown", "security-2-auto", "option-09"):
        return  # nobody writes these
    padding = bytes.fromhex(vector["padding"])
    alter_index = vector.get("alter_index")
    auth = bytes(12)
    if alter_index is None:
        auth = bytes.fromhex(vector["auth_random"]) + bytes.fromhex(vector["nonce"])
    elif alter_index == 0:
        return  # a client with alter ids never shows its main id
    account = Account(
        user_id=parse_user_id(vector["uuid"]), alter_id_count=max(alter_index or 0, 0)
    )
    client = ClientConnection(
        entropy=ScriptedEntropy([secret_of(vector, padding, auth)], [30, (alter_index or 1) - 1]),
    )
    wire = client.send(
        Request(
            account=account,
            destination=destination_of(
                vector | {"address": vector.get("address"), "port": vector.get("port")}
            ),
            command=Command(vector["command"]),
            security=Security(vector["security"]),
            options=vector["option"],
            timestamp=vector["timestamp"],
        )
    )
    assert wire.hex() == vector["wire"]
