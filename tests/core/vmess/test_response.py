"""Response headers and the command that they carry."""

from typing import Any

import attrs
import pytest

from tests.kit.vectors import for_each, load
from trio_vmess.core import NEED_DATA, parse_host
from trio_vmess.core.crypto import cfb_encryptor
from trio_vmess.core.vmess import SwitchAccount, parse_user_id
from trio_vmess.core.vmess.command import decode_switch_account, encode_switch_account
from trio_vmess.core.vmess.dialect import DOCUMENT, V2RAY
from trio_vmess.core.vmess.response import (
    ResponseHeader,
    decode_response_header,
    encode_response_header,
    open_response_header,
    seal_response_header,
)
from trio_vmess.core.vmess.security import BodyKeys, derive_response_keys
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

COMMAND = SwitchAccount(
    port=7112,
    user_id=parse_user_id("5a071834-12d5-980a-72ac-845d5568d17d"),
    alter_id_count=2,
    level=1,
    minutes=5,
)


def command_of(vector: dict[str, Any]) -> SwitchAccount:
    host = vector.get("host_on_wire", vector["host"])
    return SwitchAccount(
        host=parse_host(host) if host else None,
        port=vector["port"],
        user_id=parse_user_id(vector["uuid"]),
        alter_id_count=vector["alter_id"],
        level=vector["level"],
        minutes=vector["valid_min"],
    )


@for_each(load("response"))
def test_recorded_response(vector: dict[str, Any]) -> None:
    request = BodyKeys(
        key=bytes.fromhex(vector["request_key"]), iv=bytes.fromhex(vector["request_iv"])
    )
    aead = vector["header"] == "aead"
    keys = derive_response_keys(request, aead_header=aead)
    assert keys.key.hex() == vector["response_key"]
    assert keys.iv.hex() == vector["response_iv"]
    header = ResponseHeader(
        response_auth=vector["response_auth"],
        options=vector["option"],
        switch_account=command_of(vector["command"]) if vector["command"] else None,
    )
    plain = encode_response_header(header, V2RAY)
    assert plain.hex() == vector["plain"]
    assert decode_response_header(plain + b"junk", header.response_auth, V2RAY) == header
    wire = bytes.fromhex(vector["wire"])
    if aead:
        assert seal_response_header(plain, keys) == wire
        assert open_response_header(wire + b"body", keys) == (plain, len(wire))
    else:
        assert cfb_encryptor(keys.key, keys.iv).update(plain) == wire


@for_each(load("dynamic_port"))
def test_recorded_switch_account(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(LocalProtocolError, match="too long"):
            encode_switch_account(
                attrs.evolve(COMMAND, host=vector["host_on_wire"] or vector["host"]), V2RAY
            )
        return
    command, wire = command_of(vector), bytes.fromhex(vector["wire"])
    assert encode_switch_account(command, V2RAY) == wire[2:]
    assert decode_switch_account(wire[2:], V2RAY) == command


def test_damaged_commands_are_ignored() -> None:
    content = encode_switch_account(COMMAND, V2RAY)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        assert decode_switch_account(bytes(damaged), V2RAY) is None
        assert decode_switch_account(content[:position], V2RAY) is None
    header = bytes((0x5A, 0, 1, len(content))) + bytes(damaged)
    assert decode_response_header(header, 0x5A, V2RAY).switch_account is None


def test_unknown_command_is_skipped() -> None:
    assert decode_response_header(b"\x5a\x00\x07\x03abc", 0x5A, V2RAY) == ResponseHeader(
        response_auth=0x5A
    )


def test_document_layout_of_the_command() -> None:
    content = encode_switch_account(COMMAND, DOCUMENT)
    assert content.hex() == "001bc85a07183412d5980a72ac845d5568d17d00020105"
    assert decode_switch_account(content, DOCUMENT) == COMMAND
    with pytest.raises(LocalProtocolError, match="no field"):
        encode_switch_account(attrs.evolve(COMMAND, host="example.com"), DOCUMENT)


@pytest.mark.parametrize("change", [{"port": 65536}, {"minutes": 256}, {"level": -1}])
def test_numbers_out_of_range(change: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError, match="switch account"):
        encode_switch_account(attrs.evolve(COMMAND, **change), V2RAY)


def test_wrong_answer_and_damage_are_refused() -> None:
    keys = BodyKeys(key=bytes(16), iv=bytes(16))
    plain = encode_response_header(ResponseHeader(response_auth=7), V2RAY)
    with pytest.raises(RemoteProtocolError, match="response authentication"):
        decode_response_header(plain, 8, V2RAY)
    with pytest.raises(RemoteProtocolError, match="too short"):
        decode_response_header(b"\x07\x00\x01\x05abc", 7, V2RAY)
    wire = seal_response_header(plain, keys)
    for position in range(len(wire)):
        assert open_response_header(wire[:position], keys) is NEED_DATA
        damaged = bytearray(wire)
        damaged[position] ^= 1
        with pytest.raises(RemoteProtocolError, match="tag"):
            open_response_header(bytes(damaged), keys)
    with pytest.raises(RemoteProtocolError, match="not plausible"):
        open_response_header(seal_response_header(bytes(300), keys), keys)
