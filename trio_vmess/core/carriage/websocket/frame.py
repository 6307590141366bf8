"""The words of WebSocket frames, and the control frames as values. RFC 6455 sections 5 and 7.

    FIN 1 | RSV 3 | opcode 4 || MASK 1 | length 7 || length 0, 16 or 64 || key 0 or 32 || payload

Data frames have no value here: their bytes go past in the caller's buffers.
"""

import enum
from typing import Final

import attrs

FIN: Final = 0x80
RESERVED_BITS: Final = 0x70
OPCODE_BITS: Final = 0x0F
CONTROL_BIT: Final = 0x08
MASK_BIT: Final = 0x80
LENGTH_BITS: Final = 0x7F

LENGTH_16: Final = 126
"""This 7-bit length says that the length is in the next 2 bytes; 127, that it is in the next 8."""

LENGTH_7_MAX: Final = 125
LENGTH_16_MAX: Final = 0xFFFF


CONTROL_PAYLOAD_MAX: Final = 125
CLOSE_CODE_SIZE: Final = 2


class Opcode(enum.IntEnum):
    """What a frame is. RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """Why we close. RFC 6455 section 7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002


@attrs.frozen(kw_only=True)
class Ping:
    """The peer wants a pong with the same payload.

    Attributes:
        payload: at most 125 bytes.
    """

    payload: bytes


@attrs.frozen(kw_only=True)
class Pong:
    """The peer has answered a ping, or says that it is there.

    Attributes:
        payload: at most 125 bytes.
    """

    payload: bytes


@attrs.frozen(kw_only=True)
class Close:
    """The peer will send nothing more, and expects the same of us.

    Attributes:
        code: a status that may be sent; None where the frame was empty.
        reason: for a log; usually empty.
    """

    code: int | None = None
    reason: str = ""


ControlFrame = Ping | Pong | Close


def may_be_sent(code: int) -> bool:
    """Tell whether a close frame can have this status. RFC 6455 section 7.4, and IANA."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))
