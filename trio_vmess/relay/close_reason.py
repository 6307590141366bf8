"""Why connections end."""

import enum


class CloseReason(enum.Enum):
    """Why a connection ended; the values appear in the log line of its end."""

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
