"""Looks at the beginning of a flow before anybody is dialled, and takes nothing away from it.

What was read stays with the flow: payload in its side, datagrams in the hands of the caller.
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
"""Seconds that a client has to say something: what V2Ray waits. Where servers speak first, every
connection is that much slower to begin."""

READ_SIZE: Final = 64 * 1024
"""Bytes that one read takes: a whole chunk of any cipher, which opens as a whole or not at all."""


def look(client: StreamSide, *, limit: int = SNIFF_SIZE_MAX) -> Verdict:
    """Look at what has come with the request; what was `early` is `payload` then.

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
    """Read the first payload of a side, until it tells what it is, or that it tells nothing.

    The side is left with this payload in front: a relay sends it first. An end that was seen is
    seen again by whoever reads next.

    Args:
        client: the client's side.
        buffer: where reads go to; shared with everybody else.
        limit: bytes of payload that are looked at.
        seconds: how long it may take.

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
        datagrams: what was read: it belongs in front of what the link gives from now on.
    """

    found: Sniffed | None
    datagrams: tuple[bytes, ...] = attrs.field(repr=False)


async def peek_packets(
    client: PacketLink, *, limit: int = SNIFF_DATAGRAM_COUNT_MAX, seconds: float = PEEK_TIME
) -> Peeked:
    """Read the first datagrams of a link, until they tell what they are, or that they do not.

    Args:
        client: the client's side.
        limit: datagrams that are looked at.
        seconds: how long it may take.

    Raises:
        RemoteProtocolError: the client broke the protocol.
        trio.BrokenResourceError: the link is dead.
    """
    datagrams: list[bytes] = []
    verdict: Verdict = NEED_DATA
    with trio.move_on_after(seconds):
        while verdict is NEED_DATA and (batch := await client.receive()):
            datagrams += batch
            verdict = sniff_datagrams(datagrams, limit=limit)
    return Peeked(found=None if verdict is NEED_DATA else verdict, datagrams=tuple(datagrams))
