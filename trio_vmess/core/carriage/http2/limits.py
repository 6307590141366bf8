"""What we announce to the peer, and how much of anything it may ask of us."""

from typing import Final

import attrs

from trio_vmess.core.carriage.http2.frames import Setting

WINDOW_AT_START: Final = 65_535
"""Bytes that both windows of a connection have before anybody says otherwise; RFC 9113, 6.9.2."""

STREAM_COUNT_AT_START: Final = 100
"""Streams that we open before the peer has said how many it takes."""


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of one connection.

    A stream's window bounds what we keep for a reader that is slow, so it starts small, and grows
    while its reader keeps up. The connection's window bounds nothing: it is given back when bytes
    arrive, not when they are read, or a few readers that stand still would stop all streams.

    Attributes:
        stream_count: streams of the peer that may be open at a time.
        window_first: a stream's window at its beginning, in bytes.
        window_max: the largest that it grows to.
        growth_sum: bytes by which all windows of a connection may have grown together.
        connection_window: bytes under way on all streams together.
        frame_size: bytes of payload of one frame of the peer.
        header_list_size: bytes of a header list, as RFC 9113 counts them in section 6.5.2.
        header_block_size: bytes of a compressed header list, over all of its frames.
        control_burst: frames that carry nothing (PING, SETTINGS, empty DATA and the like) that the
            peer may send without DATA in between.
        control_rate: such frames in a second.
        reset_burst: streams that the peer may reset, or have us reset, in one go.
        reset_rate: such streams in a second.
        reply_size: bytes of answers to control frames that may wait to be sent.
    """

    stream_count: int = 250
    window_first: int = 512 * 1024
    window_max: int = 4 * 1024 * 1024
    growth_sum: int = 64 * 1024 * 1024
    connection_window: int = 16 * 1024 * 1024
    frame_size: int = 1024 * 1024
    header_list_size: int = 64 * 1024
    header_block_size: int = 64 * 1024
    control_burst: int = 1000
    control_rate: float = 100.0
    reset_burst: int = 1000
    reset_rate: float = 500.0
    reply_size: int = 64 * 1024

    def announced(self, *, is_client: bool) -> dict[Setting, int]:
        """Return what our SETTINGS frame says."""
        ours = {
            Setting.MAX_FRAME_SIZE: self.frame_size,
            Setting.MAX_HEADER_LIST_SIZE: self.header_list_size,
            Setting.INITIAL_WINDOW_SIZE: self.window_first,
        }
        if is_client:
            return {Setting.ENABLE_PUSH: 0, **ours}
        return {Setting.MAX_CONCURRENT_STREAMS: self.stream_count, **ours}


DEFAULT_LIMITS: Final = Limits()
