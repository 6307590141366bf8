"""What passes between the HTTP proxy server and whoever drives it."""

import enum
from typing import Final, Literal

import attrs

from trio_vmess.core.destination import Destination


class Paused(enum.Enum):
    """The type of `PAUSED`: an enum, so that `is` narrows."""

    PAUSED = enum.auto()

    def __repr__(self) -> str:
        return "PAUSED"


PAUSED: Final[Literal[Paused.PAUSED]] = Paused.PAUSED
"""Nothing is to be read from the client now: it is not its turn, or the conversation is over."""


def _size(payload: bytes) -> str:
    return f"<{len(payload)} bytes>"


# From the client ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Connect:
    """The client asks for a tunnel; it waits for `Established` or `Failure`.

    Attributes:
        destination: where the tunnel goes to.
        user: who asks, as named in the accounts; None where no password is asked for.
    """

    destination: Destination
    user: str | None = None


@attrs.frozen(kw_only=True)
class Forward:
    """The client asks for a web page; its request is to be written to a connection of its own.

    Attributes:
        destination: where to open the connection.
        method: as in `GET`.
        target: the origin form, as in `/path?query`; the rest went into `destination`.
        headers: names and values as they go to the origin, without what concerns this hop alone.
        has_body: True if `Data` may follow; `EndOfMessage` follows in any case.
        expects_continue: True if the client waits for a 100 before it sends the body.
        head: the bytes to write to the origin first: request line and headers.
        user: who asks, as named in the accounts; None where no password is asked for.
    """

    destination: Destination
    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)
    has_body: bool
    expects_continue: bool
    head: bytes = attrs.field(repr=_size)
    user: str | None = None


@attrs.frozen(kw_only=True)
class Data:
    """A piece of the request's body.

    Attributes:
        payload: to be written to the origin as it is; chunks are framed already.
    """

    payload: bytes = attrs.field(repr=_size)


@attrs.frozen(kw_only=True)
class EndOfMessage:
    """The request is complete.

    Attributes:
        payload: to be written to the origin as it is; often empty.
    """

    payload: bytes = attrs.field(repr=_size)


@attrs.frozen(kw_only=True)
class Challenged:
    """The client has to identify itself; a 407 is in `data_to_send`, and it may try again.

    Attributes:
        tried: True if it sent a user name and a password, and they are wrong; the first request of
            a browser usually has none.
    """

    tried: bool


@attrs.frozen(kw_only=True)
class ConnectionClosed:
    """The client ended the connection where it may: between two requests."""


# To the client -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Established:
    """The tunnel is open."""


@attrs.frozen(kw_only=True)
class Failure:
    """The request cannot be served; the connection is to be closed after this.

    Attributes:
        status: 400 to 599; 503 is what V2Ray says of any failure to reach the origin.
        reason: a sentence for the person in front of the program; it becomes the body.
    """

    status: int = attrs.field(
        default=503, validator=[attrs.validators.ge(400), attrs.validators.le(599)]
    )
    reason: str


# From the origin, ready for the client -----------------------------------------------------------


@attrs.frozen(kw_only=True)
class ResponseHead:
    """Status line and headers of a response.

    Attributes:
        status: 1xx is only a preliminary; another head follows.
        payload: to be written to the client as it is.
    """

    status: int
    payload: bytes = attrs.field(repr=_size)


@attrs.frozen(kw_only=True)
class ResponseData:
    """A piece of the response's body.

    Attributes:
        payload: to be written to the client as it is; chunks are framed already.
    """

    payload: bytes = attrs.field(repr=_size)


@attrs.frozen(kw_only=True)
class ResponseEnd:
    """The response is complete; the connection to the origin is to be closed.

    Attributes:
        payload: to be written to the client as it is; often empty.
        keep_alive: True if the client may send its next request; False: close its connection too.
    """

    payload: bytes = attrs.field(repr=_size)
    keep_alive: bool


ClientEvent = Connect | Forward | Data | EndOfMessage | Challenged | ConnectionClosed
OriginEvent = ResponseHead | ResponseData | ResponseEnd
