"""A lingering close, which lets the client read the last bytes (nginx: `lingering_close`).

If a connection is closed while received bytes are unread, the system resets it, and the client may
lose what was sent just before. So our direction is half-closed first, and what the client still
sends is discarded for a moment.
"""

from typing import Final

import trio

from trio_vmess.contracts import Transport

LINGER_TIME: Final = 1.0
"""Seconds that the client has to read the last bytes and to close."""

LINGER_SIZE: Final = 256 * 1024
"""Bytes from the client that are discarded at most."""

_READ_SIZE: Final = 4096


async def close_lingering(transport: Transport, data: bytes) -> None:
    """Send the last bytes, half-close, and wait a moment for the client to close.

    A reset by the client is not an error. The caller still has to close the transport.

    Args:
        transport: the client's connection.
        data: the last bytes; may be empty.
    """
    buffer = memoryview(bytearray(_READ_SIZE))
    left = LINGER_SIZE
    with trio.move_on_after(LINGER_TIME):
        try:
            if data:
                await transport.send_all(data)
            # Alone: last bytes are taken for an end of the protocol inside, which HTTP has not.
            await transport.send_eof()
            while left > 0 and (size := await transport.receive_into(buffer)):
                left -= size
        except trio.BrokenResourceError:
            return
