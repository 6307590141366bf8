"""Why connections end."""

import enum


class CloseReason(enum.Enum):
    """The fixed list that the log's closing lines draw from."""

    FINISHED = "finished"
    IDLE = "idle"
    UPLINK_ONLY = "response ended"
    DOWNLINK_ONLY = "request ended"
    CLIENT_RESET = "reset by client"
    REMOTE_RESET = "reset by remote"
    CLIENT_PROTOCOL = "client broke the protocol"
    REMOTE_PROTOCOL = "remote broke the protocol"
    UNREACHABLE = "destination not reached"
    OPERATOR = "ended by operator"
    CANCELLED = "cancelled"
    BUG = "internal error"
