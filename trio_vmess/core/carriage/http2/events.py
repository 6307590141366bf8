"""What has happened on a connection; each event names the stream, whose state says the rest."""

import attrs

from trio_vmess.core.carriage.http2.stream import Stream


@attrs.frozen
class RequestReceived:
    """A client has opened a stream: `stream.request` is what it asks for."""

    stream: Stream


@attrs.frozen
class ResponseReceived:
    """The server has answered: `stream.response`."""

    stream: Stream


@attrs.frozen
class DataReceived:
    """There is something to read where there was nothing."""

    stream: Stream


@attrs.frozen
class StreamEnded:
    """The peer has ended its direction, perhaps with `stream.trailers`."""

    stream: Stream


@attrs.frozen
class StreamReset:
    """The peer has reset the stream, or broken the protocol on it: `stream.reset_code`."""

    stream: Stream


@attrs.frozen
class WindowOpened:
    """A window that was used up has been opened: a stream's, or that of all of them if None."""

    stream: Stream | None


@attrs.frozen
class SettingsReceived:
    """The peer has announced its limits, which hold at once."""


@attrs.frozen
class PingAcknowledged:
    """The peer has answered a PING; all that it received before has been looked at."""

    payload: bytes


@attrs.frozen
class GoAwayReceived:
    """The peer takes no new streams; those that it did not look at count as reset."""

    code: int


Event = (
    RequestReceived
    | ResponseReceived
    | DataReceived
    | StreamEnded
    | StreamReset
    | WindowOpened
    | SettingsReceived
    | PingAcknowledged
    | GoAwayReceived
)
