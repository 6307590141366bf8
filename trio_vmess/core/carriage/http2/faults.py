"""What the modules of this package raise for a peer that breaks HTTP/2."""

from trio_vmess.core.carriage.http2.frames import ErrorCode
from trio_vmess.errors import RemoteProtocolError


class FaultError(RemoteProtocolError):
    """The connection cannot go on; the peer is told so by a GOAWAY.

    Args:
        code: for that GOAWAY.
        message: for the log.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
