"""What the peer has announced."""

from collections.abc import Iterable
from typing import Final

from trio_vmess.core.carriage.http2.faults import FaultError
from trio_vmess.core.carriage.http2.frames import (
    FRAME_SIZE_MIN,
    WINDOW_MAX,
    ErrorCode,
    Setting,
)
from trio_vmess.core.carriage.http2.limits import STREAM_COUNT_AT_START, WINDOW_AT_START

_FRAME_SIZE_MAX: Final = 2**24 - 1


class PeerSettings:
    """The settings that matter to a sender.

    Attributes:
        stream_count: streams that the peer lets us have open at a time.
        initial_window: a stream's window at its beginning.
        frame_size: bytes of payload in one frame at most.
        header_table_size: bytes of the table that our header lists may use.
        may_be_pushed: whether the peer takes pushed streams, which we never open.
    """

    __slots__ = (
        *("frame_size", "header_table_size", "initial_window", "may_be_pushed", "stream_count"),
    )

    def __init__(self) -> None:
        self.stream_count = STREAM_COUNT_AT_START
        self.initial_window = WINDOW_AT_START
        self.frame_size = FRAME_SIZE_MIN
        self.header_table_size = 4096
        self.may_be_pushed = False

    def update(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Follow a SETTINGS frame; what is unknown is ignored.

        Raises:
            FaultError: a value is not allowed.
        """
        for key, value in pairs:
            if key == Setting.INITIAL_WINDOW_SIZE:
                if value > WINDOW_MAX:
                    raise FaultError(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value}")
                self.initial_window = value
            elif key == Setting.MAX_FRAME_SIZE:
                if not FRAME_SIZE_MIN <= value <= _FRAME_SIZE_MAX:
                    raise FaultError(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes")
                self.frame_size = value
            elif key == Setting.ENABLE_PUSH:
                if value > 1:
                    raise FaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
                self.may_be_pushed = bool(value)
            elif key == Setting.MAX_CONCURRENT_STREAMS:
                self.stream_count = value
            elif key == Setting.HEADER_TABLE_SIZE:
                self.header_table_size = value
