"""The numbers of SOCKS, under the documents that define them."""

import enum
from typing import Final

# RFC 1928: SOCKS5 --------------------------------------------------------------------------------

SOCKS5_VERSION: Final = 0x05


class Method(enum.IntEnum):
    """Section 3: how a program may identify itself."""

    NO_AUTHENTICATION = 0x00
    USERNAME_PASSWORD = 0x02
    NONE_ACCEPTABLE = 0xFF


class Command(enum.IntEnum):
    """Section 4: what a program wants. SOCKS4 has the first two."""

    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03


SERVED_COMMANDS: Final = {
    Command.CONNECT.value: Command.CONNECT,
    Command.UDP_ASSOCIATE.value: Command.UDP_ASSOCIATE,
    0xF0: Command.CONNECT,
    0xF1: Command.CONNECT,
}
"""What a SOCKS5 command is served as. The last two are Tor's RESOLVE and RESOLVE_PTR.

Source: v2ray-core, proxy/socks/protocol.go, Handshake.
"""


class AddressType(enum.IntEnum):
    """Section 5."""

    IPV4 = 0x01
    DOMAIN = 0x03
    IPV6 = 0x04


class ReplyCode(enum.IntEnum):
    """Section 6: what became of a request. The values are SOCKS5's."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08

    @property
    def socks4(self) -> int:
        """The same in SOCKS4, which has one word for every failure."""
        return SOCKS4_GRANTED if self is ReplyCode.SUCCEEDED else SOCKS4_REJECTED


UDP_UNFRAGMENTED: Final = 0x00
"""Section 7: the FRAG of a datagram that stands alone."""

DOMAIN_SIZE_MAX: Final = 255

# RFC 1929: user name and password ----------------------------------------------------------------

PASSWORD_VERSION: Final = 0x01
PASSWORD_ACCEPTED: Final = 0x00

PASSWORD_REFUSED: Final = 0xFF
"""Any number but 0 refuses; this one is V2Ray's.

Source: v2ray-core, proxy/socks/protocol.go, auth5.
"""

# SOCKS4 and SOCKS4a (Ying-Da Lee, "SOCKS: A protocol for TCP proxy across firewalls") ------------

SOCKS4_VERSION: Final = 0x04
SOCKS4_REPLY_VERSION: Final = 0x00
SOCKS4_GRANTED: Final = 0x5A
SOCKS4_REJECTED: Final = 0x5B

SOCKS4_USER_SIZE_MAX: Final = 255
"""No document bounds the user id; SOCKS5's bound serves."""

# Ours --------------------------------------------------------------------------------------------

RECEIVE_LIMIT: Final = 1 << 20
"""Bytes that may wait unparsed: a request and one large read of early data."""
