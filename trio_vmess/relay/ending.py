"""How relays end, and what they counted until then."""

import enum

import attrs


class Ending(enum.Enum):
    """Why a relay ended: the fixed list that the log's closing lines draw from."""

    FINISHED = "finished"
    IDLE = "idle"
    UPLINK_ONLY = "response ended"
    DOWNLINK_ONLY = "request ended"
    CLIENT_RESET = "reset by client"
    REMOTE_RESET = "reset by remote"
    CLIENT_PROTOCOL = "client broke the protocol"
    REMOTE_PROTOCOL = "remote broke the protocol"
    UNREACHABLE = "destination not reached"
    CANCELLED = "cancelled"
    BUG = "internal error"


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
