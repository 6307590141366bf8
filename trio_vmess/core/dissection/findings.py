"""What can be said about a recorded connection, piece by piece.

Offsets count the bytes of one direction, from the first of the connection.
"""

import enum

import attrs

from trio_vmess.core.destination import Destination
from trio_vmess.core.mux.frame import Frame
from trio_vmess.core.vmess.events import HeaderForm
from trio_vmess.core.vmess.header import RequestHeader
from trio_vmess.core.vmess.response import ResponseHeader


class Direction(enum.Enum):
    """Which way bytes went."""

    UPLINK = "client"
    DOWNLINK = "server"


def _show_size(payload: bytes) -> str:
    return f"<{len(payload)} bytes>"


@attrs.frozen(kw_only=True)
class RequestFound:
    """The request header.

    Attributes:
        size: its bytes on the wire.
        form: its generation.
        timestamp: its UTC seconds.
        now: the UTC seconds at which it was recorded, as far as that is known.
        alter_id: which of the user's ids made a legacy header: 0 is the main id, n the n-th alter
            id; None for an AEAD header.
        header: its fields.
    """

    size: int
    form: HeaderForm
    timestamp: int
    now: int
    alter_id: int | None
    header: RequestHeader


@attrs.frozen(kw_only=True)
class ResponseFound:
    """The response header.

    Attributes:
        size: its bytes on the wire.
        header: its fields.
        command: the byte that says which command it carries; 0 for none. Where it is 1 and
            `header` has no command, that one is not well formed, and clients ignore it.
    """

    size: int
    header: ResponseHeader
    command: int


@attrs.frozen(kw_only=True)
class ChunkFound:
    """A chunk; one without payload is the terminator.

    Attributes:
        offset: where its size field begins.
        number: counted from 0.
        size: the size that its size field stands for: payload, overhead and padding.
        sealed_size: the number in a size field that is encrypted and authenticated (option A),
            which leaves out the tag; None for a field of two bytes.
        overhead: bytes of the tag or of the checksum.
        padding: bytes of padding.
        payload: what it carries.
    """

    offset: int
    number: int
    size: int
    sealed_size: int | None
    overhead: int
    padding: int
    payload: bytes = attrs.field(repr=_show_size)

    @property
    def is_terminator(self) -> bool:
        """Whether it closes the body."""
        return not self.payload


@attrs.frozen(kw_only=True)
class ChunkDamaged:
    """A chunk that does not open; the next one may.

    Attributes:
        offset: where its size field begins.
        number: counted from 0.
        size: see `ChunkFound`.
        padding: see `ChunkFound`.
        reason: a phrase.
    """

    offset: int
    number: int
    size: int
    padding: int
    reason: str


@attrs.frozen(kw_only=True)
class RawFound:
    """Bytes of a body that is not cut into chunks, as they came."""

    offset: int
    payload: bytes = attrs.field(repr=_show_size)


@attrs.frozen(kw_only=True)
class FrameFound:
    """A frame of Mux.Cool or XUDP, complete with the chunk before."""

    frame: Frame


@attrs.frozen(kw_only=True)
class DatagramFound:
    """A datagram of packetaddr: all of the chunk before, or all data of the frame before.

    Attributes:
        peer: where it goes, or comes from.
        payload: without the address in front.
    """

    peer: Destination
    payload: bytes = attrs.field(repr=_show_size)


@attrs.frozen(kw_only=True)
class GapFound:
    """Bytes that the recording lacks."""

    offset: int
    size: int


@attrs.frozen(kw_only=True)
class ContentUnreadable:
    """The chunks go on, but what they carry cannot be followed: a phrase says why."""

    reason: str


@attrs.frozen(kw_only=True)
class Unrecognised:
    """The connection is not one that this id can read: a sentence says why. It is the only finding.

    Attributes:
        reason: a phrase.
        protocol: what the connection begins with, if that is known; fits after "this is".
    """

    reason: str
    protocol: str | None = None


@attrs.frozen(kw_only=True)
class Unreadable:
    """From here on this direction cannot be read: a phrase says why."""

    offset: int
    reason: str


class EndState(enum.Enum):
    """What had come when a direction ended."""

    NOTHING = "nothing"
    TERMINATED = "terminated"
    BETWEEN_CHUNKS = "between chunks"
    IN_CHUNK = "in a chunk"
    IN_HEADER = "in the header"
    RAW = "raw"
    UNREADABLE = "unreadable"


class EndedBy(enum.Enum):
    """What ended a direction."""

    FIN = "closed"
    RST = "reset"
    INPUT = "end of the input"
    REPLACED = "replaced"
    FORGOTTEN = "forgotten"


@attrs.frozen(kw_only=True)
class DirectionEnd:
    """A direction has ended, or what is known of it has.

    Attributes:
        offset: how many bytes it had.
        by: what ended it.
        state: what had come by then.
        chunk: the number of the chunk that is cut off, for `IN_CHUNK`.
        held: how many bytes of the chunk or header that is cut off were there.
        needed: how many it has, if that is known.
        unread: bytes behind a terminator, or behind what could not be read.
    """

    offset: int
    by: EndedBy
    state: EndState
    chunk: int | None = None
    held: int = 0
    needed: int | None = None
    unread: int = 0


BodyFinding = (
    ChunkFound
    | ChunkDamaged
    | RawFound
    | FrameFound
    | DatagramFound
    | ContentUnreadable
    | Unreadable
)

Finding = BodyFinding | RequestFound | ResponseFound | GapFound | Unrecognised | DirectionEnd

Item = tuple[Direction, Finding]
"""A finding, and in which direction."""
