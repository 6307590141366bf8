"""The last words to a client: sent so that it can read them.

A connection that is closed while bytes of the client lie unread is reset by the system, and a reset
may overtake what was sent just before. So our direction is ended first, and what the client
still sends is thrown away for a moment.
"""

from typing import Final

import trio

from trio_vmess.contracts import Transport

FAREWELL_TIME: Final = 1.0
"""Seconds that the client has to read the last words and to close."""

FAREWELL_SIZE: Final = 256 * 1024
"""Bytes of the client that are thrown away at most."""

_READ_SIZE: Final = 4096


async def say_farewell(transport: Transport, words: bytes) -> None:
    """Send the last words, end our direction, and wait a moment for the client's end.

    A client that is gone is no error. The transport is still to be closed.

    Args:
        transport: the client's connection.
        words: may be empty.
    """
    room = memoryview(bytearray(_READ_SIZE))
    left = FAREWELL_SIZE
    with trio.move_on_after(FAREWELL_TIME):
        try:
            await transport.send_eof(words)
            while left > 0 and (size := await transport.receive_into(room)):
                left -= size
        except trio.BrokenResourceError:
            return
