"""Who a user is: the id in all its spellings, and the keys and alter ids that follow from it."""

import functools
import re
import uuid
from typing import Final

import attrs

from trio_vmess.core.crypto import md5
from trio_vmess.core.flow import User
from trio_vmess.core.vmess.auth import derive_auth_id_key
from trio_vmess.core.vmess.constants import (
    ALTER_ID_COUNT_MAX,
    ALTER_ID_RETRY_SALT,
    ALTER_ID_SALT,
    CMD_KEY_SALT,
    USER_ID_SIZE,
)

_NAMESPACE: Final = uuid.UUID(int=0)
_UUID_TEXT: Final = re.compile(
    r"(?:urn:uuid:)?(\{)?"
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"(?(1)\})",
    re.ASCII | re.IGNORECASE,
)
MAPPED_TEXT_MAX: Final = 30
"""Bytes: longer texts are taken for misspelt UUIDs, not for names. Source: Xray, uuid.go."""


def parse_user_id(text: str) -> bytes:
    """Read a user id as configurations write it.

    Args:
        text: 32 hex digits in groups of 8-4-4-4-12 with or without dashes, in either case, bare, in
            braces or behind `urn:uuid:`; or any other text of 1 to 30 bytes, which stands for its
            UUIDv5 in the nil name space (as in Xray and sing-box).

    Returns:
        16 bytes.

    Raises:
        ValueError: the text is empty, or neither a UUID nor short enough for a name.
    """
    match = _UUID_TEXT.fullmatch(text)
    if match is not None:
        return bytes.fromhex("".join(match.groups()[1:]))
    size = len(text.encode("utf-8", "surrogatepass"))
    if not size:
        raise ValueError("the user id is empty; expected a UUID")
    if size > MAPPED_TEXT_MAX:
        raise ValueError(
            "not a valid user id: expected a UUID (32 hex digits, 8-4-4-4-12) or a name of at most "
            f"{MAPPED_TEXT_MAX} bytes, not {size} bytes of other text"
        )
    return uuid.uuid5(_NAMESPACE, text).bytes


def format_user_id(user_id: bytes) -> str:
    """Write 16 bytes as a UUID in its canonical form."""
    return str(uuid.UUID(bytes=user_id))


def derive_cmd_key(user_id: bytes) -> bytes:
    """Return the 16-byte key of the request header: always from the main id."""
    return md5(user_id + CMD_KEY_SALT)


def next_alter_id(previous: bytes) -> bytes:
    """Return the alter id that follows `previous` (the main id, or the alter id before).

    Source:
        v2ray-core, common/protocol/id.go.
    """
    message = previous + ALTER_ID_SALT
    while (derived := md5(message)) == previous:
        message += ALTER_ID_RETRY_SALT
    return derived


def _read_user_id(value: bytes | str | uuid.UUID) -> bytes:
    """Return the 16 bytes of a user id in any of its spellings; messages never show it."""
    match value:
        case bytes():
            if len(value) != USER_ID_SIZE:
                raise ValueError(f"a user id must have {USER_ID_SIZE} bytes, not {len(value)}")
            return value
        case str():
            try:
                return parse_user_id(value)
            except ValueError as exc:
                raise ValueError(f"user_id: {exc}") from None
        case uuid.UUID():
            return value.bytes
        case _:
            raise TypeError(
                f"user_id: expected a UUID, its text or its {USER_ID_SIZE} bytes, "
                f"not {type(value).__name__}"
            )


def _is_alter_id_count(_instance: object, _attribute: object, value: object) -> None:
    if not isinstance(value, int):
        raise TypeError(f"alter_id_count: expected an int, not {type(value).__name__}")
    if not 0 <= value <= ALTER_ID_COUNT_MAX:
        raise ValueError(f"alterId must be 0 to {ALTER_ID_COUNT_MAX}, not {value}")


@attrs.define(frozen=True, slots=False, eq=True)
class Account:
    """A user, as server and client both know them.

    Attributes:
        user_id: 16 bytes; a secret. It may be given as a `uuid.UUID`, or as text that
            `parse_user_id` reads, and need not be named: `Account("b831381d-…")`.
        alter_id_count: how many alter ids follow from it, 0 to 65535; 0 allows AEAD headers only.
        level: which policy level applies.
        email: the user's name in logs and statistics; may be empty.
    """

    user_id: bytes = attrs.field(repr=False, converter=_read_user_id)
    alter_id_count: int = attrs.field(default=0, validator=_is_alter_id_count, kw_only=True)
    level: int = attrs.field(default=0, kw_only=True)
    email: str = attrs.field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """What logs call the user: the email, or the first group of the id where there is none."""
        return self.email or f"{self.user_id[:4].hex()}-…"

    @functools.cached_property
    def user(self) -> User:
        """The user as flows know them."""
        return User(id=self.user_id, email=self.email, level=self.level)

    @functools.cached_property
    def cmd_key(self) -> bytes:
        """16 bytes, derived from the main id."""
        return derive_cmd_key(self.user_id)

    @functools.cached_property
    def auth_id_key(self) -> bytes:
        """The 16-byte AES key of the user's AEAD auth ids."""
        return derive_auth_id_key(self.cmd_key)

    @functools.cached_property
    def alter_ids(self) -> tuple[bytes, ...]:
        """The alter ids, 16 bytes each."""
        ids: list[bytes] = []
        current = self.user_id
        for _ in range(self.alter_id_count):
            current = next_alter_id(current)
            ids.append(current)
        return tuple(ids)
