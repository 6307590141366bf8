"""Counters of one relay."""

import attrs


@attrs.define(eq=False)
class Meter:
    """Bytes of payload, without the overhead of protocols.

    Attributes:
        uplink: bytes from the client.
        downlink: bytes to the client.
        dropped: how many datagrams could not be sent.
    """

    uplink: int = 0
    downlink: int = 0
    dropped: int = 0
