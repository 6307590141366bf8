"""The numbers and names of VMess.

Source of all that names no other: v2ray-core v4.34, proxy/vmess and common/protocol.
"""

import enum
from typing import Final

# Identities -------------------------------------------------------------------------------------

USER_ID_SIZE: Final = 16
ALTER_ID_COUNT_MAX: Final = 0xFFFF
CMD_KEY_SALT: Final = b"c48619fe-8f02-49e0-b9e9-edf763e17e21"
ALTER_ID_SALT: Final = b"16167dc8-16b6-4e6d-b8bb-65dd68113a81"
ALTER_ID_RETRY_SALT: Final = b"533eff8a-4113-4b10-b5ce-0f5d76b98cd2"

# Authentication ---------------------------------------------------------------------------------

AUTH_SIZE: Final = 16
"""Both forms begin with 16 bytes: the user hash (legacy) or the auth id (AEAD)."""

TIMESTAMP_JITTER: Final = 30
"""A legacy client's time is off by -30 to +29 seconds on purpose."""

DEFAULT_MAX_CLOCK_SKEW: Final = 90
"""Seconds that two clocks may differ; with the jitter it makes V2Ray's window of 120 seconds."""

AEAD_NONCE_SIZE: Final = 8
"""The connection nonce in the AEAD header: it stands between the sealed length and the header."""

KDF_SALT: Final = b"VMess AEAD KDF"


class Label:
    """What each derived key is for: the first path element of the KDF.

    Source: v2ray-core, proxy/vmess/aead/consts.go; `auth_len` from v5, proxy/vmess/encoding.
    """

    AUTH_ID: Final = b"AES Auth ID Encryption"
    LENGTH_KEY: Final = b"VMess Header AEAD Key_Length"
    LENGTH_NONCE: Final = b"VMess Header AEAD Nonce_Length"
    HEADER_KEY: Final = b"VMess Header AEAD Key"
    HEADER_NONCE: Final = b"VMess Header AEAD Nonce"
    RESPONSE_LENGTH_KEY: Final = b"AEAD Resp Header Len Key"
    RESPONSE_LENGTH_NONCE: Final = b"AEAD Resp Header Len IV"
    RESPONSE_HEADER_KEY: Final = b"AEAD Resp Header Key"
    RESPONSE_HEADER_NONCE: Final = b"AEAD Resp Header IV"
    AUTHENTICATED_LENGTH_KEY: Final = b"auth_len"


# Request header ---------------------------------------------------------------------------------

VERSION: Final = 1
BODY_IV_SIZE: Final = 16
BODY_KEY_SIZE: Final = 16
PADDING_MAX: Final = 15
CHECKSUM_SIZE: Final = 4
REQUEST_HEADER_MAX: Final = 316
"""38 fixed, port 2, address 1 + 1 + 255, padding 15, checksum 4."""

SEALED_HEADER_MAX: Final = 2048
"""The longest AEAD header that is accepted; a real one has at most `REQUEST_HEADER_MAX` bytes."""

DOMAIN_BYTES: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._"
"""The only bytes that V2Ray and Xray accept in a name; names in other scripts are in punycode."""

DOMAIN_MAX: Final = 255


class Option:
    """Bits of the option byte; it holds for both directions. Plain ints: they are tested often."""

    CHUNK_STREAM: Final = 0x01
    """S: the body is cut into chunks and ends with a terminator."""
    REUSE: Final = 0x02
    """R: obsolete, ignored by all implementations."""
    MASK: Final = 0x04
    """M: chunk sizes are masked with SHAKE-128."""
    PADDING: Final = 0x08
    """P: chunks carry up to 63 bytes of padding; legal only together with M."""
    AUTHENTICATED_LENGTH: Final = 0x10
    """A: chunk sizes are encrypted and authenticated; AEAD securities only."""


class Command(enum.IntEnum):
    """What the client wants."""

    TCP = 1
    UDP = 2
    MUX = 3


class Security(enum.IntEnum):
    """How the body is protected. The values are V2Ray's codes on the wire."""

    AES_128_CFB = 1
    AES_128_GCM = 3
    CHACHA20_POLY1305 = 4
    NONE = 5

    @property
    def is_aead(self) -> bool:
        """True for the two that authenticate the body."""
        return self in _AEADS

    @property
    def word(self) -> str:
        """The name that configurations use."""
        return self.name.lower().replace("_", "-")


_AEADS: Final = (Security.AES_128_GCM, Security.CHACHA20_POLY1305)


class AddressType:
    """Codes in front of an address."""

    IPV4: Final = 1
    DOMAIN: Final = 2
    IPV6: Final = 3


# Response header --------------------------------------------------------------------------------

RESPONSE_HEADER_MAX: Final = 4 + 255
"""4 fixed, and the content of the command."""

RESPONSE_NO_COMMAND: Final = 0
RESPONSE_SWITCH_ACCOUNT: Final = 1

# Body -------------------------------------------------------------------------------------------

CHUNK_WRITE_MAX: Final = 1 << 14
"""The largest value of the size field that we write: the original document's limit."""

PACKET_SIZE: Final = 1950
"""Bytes of a datagram that every peer takes in one piece.

QUIRK: V2Ray and Xray cut what does not fit a buffer of 2048 bytes into several datagrams.
Source: v2ray-core, common/crypto/auth.go, and common/buf/buffer.go.
"""

CHUNK_READ_MAX: Final = 0xFFFF
SIZE_FIELD_SIZE: Final = 2
AUTHENTICATED_LENGTH_SIZE: Final = SIZE_FIELD_SIZE + 16
"""With option A the size field carries a tag."""

CHUNK_PADDING_LIMIT: Final = 64
"""Chunk padding has 0 to 63 bytes."""

CHUNK_COUNTER_LIMIT: Final = 1 << 16
"""The chunk counter in the nonce wraps to 0 here: silently, in every implementation."""

SESSION_HISTORY_SECONDS: Final = 180
"""How long (user, body key, body IV) are remembered at least: v2ray-core, encoding/server.go."""
