"""Chunks of the golden vectors, and of our own bodies with every option."""

import itertools
from typing import Any

import pytest

from tests.core.dissection.recordings import (
    DOWNLINK_PIECES,
    OPTIONS,
    UPLINK_PIECES,
    dissect,
    found,
    payload_of,
    record,
)
from tests.core.vmess.test_body import BODIES
from tests.kit.vectors import for_each, unpack
from trio_vmess.core.crypto import cfb_decryptor
from trio_vmess.core.dissection import (
    ChunkFound,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    RawFound,
    RequestFound,
    ResponseFound,
)
from trio_vmess.core.dissection.chunks import ChunkWalker
from trio_vmess.core.vmess import DOCUMENT, V2RAY, Command, HeaderForm, Security
from trio_vmess.core.vmess.body import BodyPlan
from trio_vmess.core.vmess.security import BodyKeys, choose_framing


def walk(vector: dict[str, Any]) -> tuple[list[Any], DirectionEnd]:
    """Return what is in a recorded body, and its end."""
    security, command = Security(vector["security"]), Command(vector["command"])
    request = BodyKeys(
        key=bytes.fromhex(vector["request_key"]), iv=bytes.fromhex(vector["request_iv"])
    )
    keys = BodyKeys(key=bytes.fromhex(vector["key"]), iv=bytes.fromhex(vector["iv"]))
    wire, offset, cipher = unpack(vector["wire"]), vector.get("header_len", 0), None
    if vector.get("header") == "legacy" and security is Security.AES_128_CFB:
        cipher = cfb_decryptor(keys.key, keys.iv)
        cipher.update(wire[:offset])
    plan = BodyPlan(
        security=security,
        framing=choose_framing(vector["option"], security, command, V2RAY),
        request=request,
        dialect=V2RAY,
    )
    walker = ChunkWalker(plan, keys, offset=offset, cipher=cipher)
    findings = [each for byte in wire[offset:] for each in walker.receive(bytes((byte,)))]
    return findings, walker.end(EndedBy.FIN)


@for_each(BODIES)
def test_a_recorded_body_is_found_chunk_by_chunk(vector: dict[str, Any]) -> None:
    wire, pieces = unpack(vector["wire"]), [unpack(piece) for piece in vector["pieces"]]
    findings, end = walk(vector)
    assert b"".join(each.payload for each in findings) == b"".join(pieces)
    assert end.offset == len(wire)
    if vector["chunks"] is None:
        assert {type(each) for each in findings} <= {RawFound}
        assert end.state is EndState.RAW
        return
    assert end.state is (EndState.TERMINATED if vector["eof"] else EndState.BETWEEN_CHUNKS)
    is_sealed = bool(vector["option"] & 0x10) and Security(vector["security"]).is_aead
    offset = vector.get("header_len", 0)
    for found_chunk, known in zip(findings, vector["chunks"], strict=True):
        assert isinstance(found_chunk, ChunkFound)
        assert found_chunk.offset == offset
        assert found_chunk.size == known["size"]
        assert len(found_chunk.payload) == known["data_len"]
        assert found_chunk.padding == len(unpack(known["padding"]))
        assert found_chunk.sealed_size == (known["size"] - 16 if is_sealed else None)
        assert found_chunk.size == (
            len(found_chunk.payload) + found_chunk.overhead + found_chunk.padding
        )
        offset += found_chunk.size + (18 if is_sealed else 2)
    assert offset == len(wire)


@pytest.mark.parametrize("form", HeaderForm, ids=lambda form: form.value)
@pytest.mark.parametrize("command", [Command.TCP, Command.UDP], ids=lambda each: each.name)
@for_each(list(itertools.product(Security, OPTIONS)), name=lambda case: f"{case[0].word} {case[1]}")
def test_our_own_connections_are_read_whatever_their_options(
    case: tuple[Security, str], form: HeaderForm, command: Command
) -> None:
    security, options = case[0], OPTIONS[case[1]]
    uplink = [piece[:1900] for piece in UPLINK_PIECES]
    recording = record(
        security,
        options,
        alter_id_count=3 if form is HeaderForm.LEGACY else 0,
        command=command,
        uplink=uplink,
    )
    items = dissect(recording.account, [recording.uplink], [recording.downlink])
    (request,) = found(items, RequestFound)
    assert (request.form, request.header.options) == (form, options)
    assert len(found(items, ResponseFound)) == 1
    assert payload_of(items, Direction.UPLINK) == b"".join(uplink)
    assert payload_of(items, Direction.DOWNLINK) == b"".join(DOWNLINK_PIECES)
    is_chunked = options & 1 or security.is_aead
    expected = EndState.TERMINATED if options & 1 else EndState.BETWEEN_CHUNKS
    assert [end.state for end in found(items, DirectionEnd)] == (
        [expected if is_chunked else EndState.RAW] * 2
    )


def test_the_dialect_of_the_documents_is_read() -> None:
    recording = record(Security.CHACHA20_POLY1305, 0x05, alter_id_count=1, dialect=DOCUMENT)
    items = dissect(recording.account, [recording.uplink], [recording.downlink], dialect=DOCUMENT)
    (request,) = found(items, RequestFound)
    assert request.alter_id == 0
    assert request.header.security is Security.CHACHA20_POLY1305
    assert payload_of(items, Direction.UPLINK) == b"".join(UPLINK_PIECES)
