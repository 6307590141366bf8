"""A lingering close: the last bytes are sent so that the client can read them.

A connection that is closed while bytes of the client lie unread is reset by the system, and a reset
may overtake what was sent just before. So our direction is ended first, and what the client
still sends is thrown away for a moment. nginx calls it `lingering_close`.
"""

from typing import Final

import trio

from trio_vmess.contracts import Transport

LINGER_TIME: Final = 1.0
"""Seconds that the client has to read the last bytes and to close."""

LINGER_SIZE: Final = 256 * 1024
"""Bytes of the client that are thrown away at most."""

_READ_SIZE: Final = 4096


async def close_lingering(transport: Transport, data: bytes) -> None:
    """Send the last bytes, end our direction, and wait a moment for the client's end.

    A client that is gone is no error. The transport is still to be closed.

    Args:
        transport: the client's connection.
        data: the last bytes; may be empty.
    """
    buffer = memoryview(bytearray(_READ_SIZE))
    left = LINGER_SIZE
    with trio.move_on_after(LINGER_TIME):
        try:
            await transport.send_eof(data)
            while left > 0 and (size := await transport.receive_into(buffer)):
                left -= size
        except trio.BrokenResourceError:
            return
