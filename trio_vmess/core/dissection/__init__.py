"""A recorded VMess connection, read by somebody who knows the user's id: no end of it, no I/O.

`Dissector` takes the bytes of both directions as they were on the wire, and says what they are:
the request header, the response header, every chunk, and the frames or datagrams inside them. It
needs the user's id and nothing else, because the keys of both bodies are in the request header.

The codecs of `core.vmess` open whole bodies and hide where a chunk begins and what pads it. Here
that is what matters, and speed is not, so this is another reader on the same primitives.
"""

from trio_vmess.core.dissection.dissector import Dissector
from trio_vmess.core.dissection.findings import (
    ChunkDamaged,
    ChunkFound,
    ContentUnreadable,
    DatagramFound,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    Finding,
    FrameFound,
    GapFound,
    Item,
    RawFound,
    RequestFound,
    ResponseFound,
    Unreadable,
    Unrecognised,
)
from trio_vmess.core.dissection.user_hash import UserHashSearch

__all__ = [
    "ChunkDamaged",
    "ChunkFound",
    "ContentUnreadable",
    "DatagramFound",
    "Direction",
    "DirectionEnd",
    "Dissector",
    "EndState",
    "EndedBy",
    "Finding",
    "FrameFound",
    "GapFound",
    "Item",
    "RawFound",
    "RequestFound",
    "ResponseFound",
    "Unreadable",
    "Unrecognised",
    "UserHashSearch",
]
