"""Control connections: TCP connections that carry no data and whose end ends something else."""

from typing import Final

import trio

from trio_vmess.contracts import Transport

_READ_SIZE: Final = 64


async def cancel_at_end(transport: Transport, scope: trio.CancelScope) -> None:
    """Cancel a scope when a connection ends; bytes received on it are discarded.

    Args:
        transport: the control connection; it is left open.
        scope: what is cancelled when the connection is closed or reset.

    Source:
        RFC 1928 section 6: a UDP association ends with the TCP connection that requested it.
    """
    buffer = memoryview(bytearray(_READ_SIZE))
    try:
        while await transport.receive_into(buffer):
            pass
    except trio.BrokenResourceError:
        pass
    scope.cancel()
