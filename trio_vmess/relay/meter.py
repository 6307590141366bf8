"""What a relay has carried."""

import attrs


@attrs.define(eq=False)
class Meter:
    """Bytes of payload, without what protocols put around it.

    Attributes:
        uplink: from the client.
        downlink: to the client.
        dropped: datagrams that could not be passed on.
    """

    uplink: int = 0
    downlink: int = 0
    dropped: int = 0
