"""User ids, their keys and alter ids, and the key derivation, against V2Ray's values."""

import uuid
from typing import Any

import pytest

from tests.kit.vectors import VECTORS, for_each, load
from trio_vmess.core.crypto import aes_block_decryptor
from trio_vmess.core.vmess import Account, format_user_id, parse_user_id
from trio_vmess.core.vmess.auth import (
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    derive_auth_id_key,
    derive_user_hash,
    read_auth_time,
    seal_auth_id,
)
from trio_vmess.core.vmess.kdf import kdf
from trio_vmess.errors import LocalProtocolError

UUID_TEXT = "b831381d-6324-4d53-ad4f-8cda48b30811"

IDS = load("ids")


@for_each(IDS)
def test_recorded_ids(vector: dict[str, Any]) -> None:
    user_id = parse_user_id(vector["uuid"])
    assert user_id.hex() == vector["uuid_bytes"]
    assert format_user_id(user_id) == vector["uuid"]
    for text in vector["text_forms"]:
        assert parse_user_id(text) == user_id
    account = Account(user_id=user_id, alter_id_count=65535)
    assert account.cmd_key.hex() == vector["command_key"]
    alter_ids = account.alter_ids
    assert [format_user_id(alter_id) for alter_id in alter_ids[:16]] == vector["alter_ids"]
    for number, alter_id in vector["alter_id_at"].items():
        assert format_user_id(alter_ids[int(number) - 1]) == alter_id
    assert len(alter_ids) == 65535


def test_short_texts_map_to_uuids() -> None:
    import json

    mapped = json.loads((VECTORS / "ids.json").read_text())["mapped"]
    assert mapped
    for vector in mapped:
        user_id = parse_user_id(vector["text"])
        assert format_user_id(user_id) == vector["uuid"]
        assert Account(user_id=user_id).cmd_key.hex() == vector["command_key"]


@pytest.mark.parametrize(
    "text",
    [
        "b831381d-6324-4d53-ad4f-8cda48b30811",
        "B831381D63244D53AD4F8CDA48B30811",
        "b831381d63244d53-ad4f8cda48b30811",
        "{b831381d-6324-4d53-ad4f-8cda48b30811}",
        "urn:uuid:b831381d-6324-4d53-ad4f-8cda48b30811",
    ],
)
def test_spellings_of_a_uuid(text: str) -> None:
    assert format_user_id(parse_user_id(text)) == "b831381d-6324-4d53-ad4f-8cda48b30811"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("b831381d-6324-4d53-ad4f-8cda48b3081", "not a valid user id"),
        ("x" * 31, "31 bytes"),
        ("b831381d-6324-4d53-ad4f-8cda48b30811-more-of-it", "not a valid user id"),
        ("{b831381d-6324-4d53-ad4f-8cda48b30811", "not a valid user id"),
    ],
)
def test_bad_user_ids(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_user_id(text)


@pytest.mark.parametrize(
    "user_id",
    [
        UUID_TEXT,
        UUID_TEXT.upper().replace("-", ""),
        uuid.UUID(UUID_TEXT),
        uuid.UUID(UUID_TEXT).bytes,
    ],
)
def test_an_account_by_each_spelling_of_its_id(user_id: uuid.UUID | str | bytes) -> None:
    assert Account(user_id) == Account(user_id=uuid.UUID(UUID_TEXT).bytes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"user_id": 7}, TypeError, "user_id: expected a UUID, its text or its 16 bytes, not int"),
        ({"user_id": UUID_TEXT[:-1]}, ValueError, "user_id: not a valid user id: expected a UUID"),
        (
            {"user_id": bytes(16), "alter_id_count": "4"},
            TypeError,
            "alter_id_count: expected an int",
        ),
    ],
)
def test_an_account_names_the_argument_that_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        Account(**arguments)
    assert UUID_TEXT[:8] not in str(caught.value)


def test_account_checks_itself_and_keeps_its_secret() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Account(user_id=b"short")
    with pytest.raises(ValueError, match="65536"):
        Account(user_id=bytes(16), alter_id_count=65536)
    account = Account(user_id=bytes(range(16)), email="love@example.com")
    assert bytes(range(16)).hex() not in repr(account)
    assert account.name == "love@example.com"
    assert Account(user_id=bytes(range(16))).name == "00010203-…"


@for_each(load("kdf"))
def test_recorded_kdf(vector: dict[str, Any]) -> None:
    path = map(bytes.fromhex, vector["path"])
    assert kdf(bytes.fromhex(vector["key"]), *path).hex() == vector["output"]


@for_each(load("legacy_auth"))
def test_recorded_user_hash(vector: dict[str, Any]) -> None:
    id_ = bytes.fromhex(vector["id"])
    assert derive_user_hash(id_, vector["timestamp"]).hex() == vector["auth"]


@for_each(load("auth_id"))
def test_recorded_auth_id(vector: dict[str, Any]) -> None:
    key = derive_auth_id_key(bytes.fromhex(vector["command_key"]))
    random = bytes.fromhex(vector["random"])
    assert key.hex() == vector["auth_id_key"]
    sealed = seal_auth_id(key, vector["timestamp"], random)
    assert sealed.hex() == vector["auth_id"]
    decrypt = aes_block_decryptor(key).update
    assert read_auth_time(decrypt(sealed)) == vector["timestamp"]
    for position in range(16):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        assert read_auth_time(decrypt(bytes(damaged))) is None


@pytest.mark.parametrize("timestamp", [TIMESTAMP_MIN, -1, 0, TIMESTAMP_MAX])
def test_a_timestamp_has_64_bits(timestamp: int) -> None:
    key = bytes(16)
    sealed = seal_auth_id(key, timestamp, bytes(4))
    assert read_auth_time(aes_block_decryptor(key).update(sealed)) == timestamp
    assert len(derive_user_hash(bytes(16), timestamp)) == 16


@pytest.mark.parametrize("timestamp", [TIMESTAMP_MIN - 1, TIMESTAMP_MAX + 1])
def test_a_timestamp_beyond_64_bits_is_a_local_error(timestamp: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{timestamp} does not fit 64 bits"):
        seal_auth_id(bytes(16), timestamp, bytes(4))
    with pytest.raises(LocalProtocolError, match=f"{timestamp} does not fit 64 bits"):
        derive_user_hash(bytes(16), timestamp)
