"""The one command that a response can carry: switch to another port and account ("dynamic port").

Layout (big-endian), as V2Ray writes it:

    4   FNV-1a of all that follows
    1   host length h
    h   host: a name or an IP address as text, IPv6 in brackets; none means "the same host"
    2   port
    16  user id
    2   alterId
    1   level
    1   how many minutes it is valid

The original document has no checksum, and a reserved zero byte in place of the host.

Source: v2ray-core, proxy/vmess/encoding/commands.go.
"""

import ipaddress
import struct
from typing import Final, assert_never

import attrs

from trio_vmess.core.crypto import fnv1a
from trio_vmess.core.destination import Host, parse_host
from trio_vmess.core.vmess.constants import CHECKSUM_SIZE
from trio_vmess.core.vmess.dialect import Dialect
from trio_vmess.errors import LocalProtocolError

_ACCOUNT: Final = struct.Struct(">H16sHBB")
COMMAND_MAX: Final = 255


@attrs.frozen(kw_only=True)
class SwitchAccount:
    """Another port and account that the client may use for a while.

    Attributes:
        host: None means the host that the client dialled.
        port: 1 to 65535.
        user_id: 16 bytes.
        alter_id_count: as in `Account`.
        level: the policy level.
        minutes: how long it is valid, 0 to 255.
    """

    port: int
    user_id: bytes = attrs.field(repr=False)
    alter_id_count: int = 0
    level: int = 0
    minutes: int
    host: Host | None = None


def encode_switch_account(command: SwitchAccount, dialect: Dialect) -> bytes:
    """Write the command's content.

    Raises:
        LocalProtocolError: it does not fit the length byte in front of it, the dialect has no field
            for a host, or a number is out of its range.
    """
    match command.host:
        case None:
            host = b""
        case ipaddress.IPv6Address():
            host = f"[{command.host}]".encode()
        case ipaddress.IPv4Address():
            host = str(command.host).encode()
        case str():
            host = command.host.encode("ascii", "replace")
        case _:
            assert_never(command.host)
    if host and not dialect.switch_account_has_host:
        raise LocalProtocolError(f"host: dialect {dialect.name!r} has no field for it")
    if 1 + CHECKSUM_SIZE + len(host) + _ACCOUNT.size > COMMAND_MAX:
        raise LocalProtocolError(f"host: {len(host)} bytes are too long for the command")
    try:
        content = (
            bytes((len(host),))
            + host
            + _ACCOUNT.pack(
                command.port,
                command.user_id,
                command.alter_id_count,
                command.level,
                command.minutes,
            )
        )
    except struct.error as exc:
        raise LocalProtocolError(f"switch account: {exc}") from None
    if not dialect.switch_account_has_host:
        return content
    return fnv1a(content).to_bytes(CHECKSUM_SIZE, "big") + content


def decode_switch_account(content: bytes, dialect: Dialect) -> SwitchAccount | None:
    """Read the command's content; None if it is not well formed, which is to be ignored."""
    if dialect.switch_account_has_host:
        if int.from_bytes(content[:CHECKSUM_SIZE], "big") != fnv1a(content[CHECKSUM_SIZE:]):
            return None
        content = content[CHECKSUM_SIZE:]
    host_size = content[0] if content else 0
    if len(content) < 1 + host_size + _ACCOUNT.size:
        return None
    if host_size and not dialect.switch_account_has_host:
        return None
    try:
        text = content[1 : 1 + host_size].decode("ascii")
        host = parse_host(text) if text else None
    except ValueError:
        return None
    port, user_id, alter_id_count, level, minutes = _ACCOUNT.unpack_from(content, 1 + host_size)
    if not port:
        return None
    return SwitchAccount(
        host=host,
        port=port,
        user_id=user_id,
        alter_id_count=alter_id_count,
        level=level,
        minutes=minutes,
    )
