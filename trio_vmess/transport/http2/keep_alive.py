"""When a carrier is asked for a sign of life, and when it is given up."""

import enum
import math
from typing import Final

import attrs

SUSPICION: Final = 2.0
"""Seconds a PING may go unanswered before new streams avoid a carrier."""

QUIET: Final = 5.0
"""Seconds of silence after which a new stream is accompanied by a PING."""


@attrs.frozen(kw_only=True)
class KeepAlive:
    """The times of a carrier, in seconds.

    Attributes:
        read_idle_timeout: silence after which the peer is asked for a sign of life, if there are
            streams; None never asks because of time alone. (Some servers of gRPC close connections
            on which they are asked more often than each five minutes.)
        health_check_timeout: how long to wait for it.
        idle_timeout: how long to keep a carrier without streams.
    """

    read_idle_timeout: float | None = None
    health_check_timeout: float = 15.0
    idle_timeout: float = 300.0


class Due(enum.Enum):
    """What is to be done with a carrier."""

    NOTHING = enum.auto()
    PING = enum.auto()
    END_IDLE = enum.auto()
    END_DEAD = enum.auto()


@attrs.define(kw_only=True)
class Vitals:
    """What is known about a carrier's health; times are Trio's.

    Attributes:
        times: the settings.
        last_received: when the peer sent something.
        pinged: when a PING was sent whose answer has not come; None if there is none.
        idle_since: since when there is no stream; None if there are some.
        first_stream_by: when a stream must have been opened; infinity once it was.
    """

    times: KeepAlive
    last_received: float
    pinged: float | None = None
    idle_since: float | None
    first_stream_by: float = math.inf

    def is_suspect(self, now: float) -> bool:
        """Whether a new stream should use another carrier."""
        return self.pinged is not None and now - self.pinged > SUSPICION

    def wants_ping(self, now: float) -> bool:
        """Whether a new stream is a reason to ask for a sign of life."""
        return self.pinged is None and now - self.last_received > QUIET

    def decide(self, now: float) -> tuple[Due, float]:
        """Return what is to be done now, and when to decide again at the latest."""
        times = self.times
        if self.pinged is not None and now >= self.pinged + times.health_check_timeout:
            return Due.END_DEAD, math.inf
        if now >= self.first_stream_by:
            return Due.END_IDLE, math.inf
        if self.idle_since is not None:
            end = min(self.idle_since + times.idle_timeout, self.first_stream_by)
            if now >= end:
                return Due.END_IDLE, math.inf
        else:
            end = now + times.idle_timeout
        if self.pinged is not None:
            return Due.NOTHING, min(end, self.pinged + times.health_check_timeout)
        if times.read_idle_timeout is None or self.idle_since is not None:
            return Due.NOTHING, end
        silence = self.last_received + times.read_idle_timeout
        if now >= silence:
            return Due.PING, min(end, now + times.health_check_timeout)
        return Due.NOTHING, min(end, silence)
