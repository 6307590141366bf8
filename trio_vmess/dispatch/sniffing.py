"""Examines the first payload of a flow before an outbound is chosen, without consuming it.

What was read is kept for the relay: payload in the client's side, datagrams in `Peeked`.
"""

from typing import Final

import attrs
import trio

from trio_vmess.contracts import PacketLink, StreamSide
from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import (
    SNIFF_DATAGRAM_COUNT_MAX,
    SNIFF_SIZE_MAX,
    Sniffed,
    Verdict,
    sniff,
    sniff_datagrams,
)

PEEK_TIME: Final = 0.2
"""Seconds to wait for the client's first payload, as V2Ray does. Where servers speak first, every
connection is delayed by that time."""

READ_SIZE: Final = 64 * 1024
"""Bytes of one read: room for a whole chunk of any cipher, as only whole chunks can be opened."""


def look(client: StreamSide, *, limit: int = SNIFF_SIZE_MAX) -> Verdict:
    """Examine what came with the request; moves it from `early` to `payload`, opened.

    Raises:
        RemoteProtocolError: the client broke the protocol.
    """
    early, client.early = client.early, b""
    if early:
        _take(client, early)
    return sniff(client.payload, limit=limit)


async def peek(
    client: StreamSide,
    *,
    buffer: memoryview,
    limit: int = SNIFF_SIZE_MAX,
    seconds: float = PEEK_TIME,
) -> Sniffed | None:
    """Read the first payload of a side until its protocol is recognised, or cannot be.

    The payload stays in `client.payload`, which a relay sends first. If the end was reached, the
    next reader sees it again.

    Args:
        client: the client's side.
        buffer: read into; shared by all connections.
        limit: bytes of payload to examine at most.
        seconds: how long to wait at most.

    Returns:
        What was recognised, or None.

    Raises:
        RemoteProtocolError: the client broke the protocol.
        trio.BrokenResourceError: the connection was reset.
    """
    verdict = look(client, limit=limit)
    with trio.move_on_after(seconds):
        while verdict is NEED_DATA and not (client.opener is not None and client.opener.ended):
            size = await client.transport.receive_into(buffer[:READ_SIZE])
            if not size:
                break
            _take(client, buffer[:size])
            verdict = sniff(client.payload, limit=limit)
    return None if verdict is NEED_DATA else verdict


def _take(client: StreamSide, wire: bytes | memoryview) -> None:
    if client.opener is None:
        client.payload += wire
        return
    opened = bytearray(client.opener.output_size(len(wire)))
    size = client.opener.update_into(wire, memoryview(opened))
    client.payload += opened[:size]


@attrs.frozen(kw_only=True)
class Peeked:
    """The beginning of a flow of datagrams.

    Attributes:
        found: what was recognised, or None.
        datagrams: what was read; precedes what the link returns from now on.
    """

    found: Sniffed | None
    datagrams: tuple[bytes, ...] = attrs.field(repr=False)


async def peek_packets(
    client: PacketLink, *, limit: int = SNIFF_DATAGRAM_COUNT_MAX, seconds: float = PEEK_TIME
) -> Peeked:
    """Read the first datagrams of a link until their protocol is recognised, or cannot be.

    Args:
        client: the client's side.
        limit: datagrams to examine at most.
        seconds: how long to wait at most.

    Raises:
        RemoteProtocolError: the client broke the protocol.
        trio.BrokenResourceError: the link has failed.
    """
    datagrams: list[bytes] = []
    verdict: Verdict = NEED_DATA
    with trio.move_on_after(seconds):
        while verdict is NEED_DATA and (batch := await client.receive()):
            datagrams += batch
            verdict = sniff_datagrams(datagrams, limit=limit)
    return Peeked(found=None if verdict is NEED_DATA else verdict, datagrams=tuple(datagrams))
