"""A connection that carries nothing and means something: it lives as long as what belongs to it."""

from typing import Final

import trio

from trio_vmess.contracts import Transport

_READ_SIZE: Final = 64


async def cancel_at_end(transport: Transport, scope: trio.CancelScope) -> None:
    """Cancel a scope when a connection ends; what still comes on it is thrown away.

    Args:
        transport: is not closed.
        scope: of what lives as long as the connection does.

    Source:
        RFC 1928 section 6: a UDP association ends with the TCP connection that asked for it.
    """
    buffer = memoryview(bytearray(_READ_SIZE))
    try:
        while await transport.receive_into(buffer):
            pass
    except trio.BrokenResourceError:
        pass
    scope.cancel()
