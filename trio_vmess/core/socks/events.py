"""What passes between the SOCKS server and whoever drives it."""

import attrs

from trio_vmess.core.destination import Destination
from trio_vmess.core.socks.constants import Command, ReplyCode


@attrs.frozen(kw_only=True)
class Request:
    """A program asks for something; it waits for a `Reply`.

    Attributes:
        command: CONNECT or UDP_ASSOCIATE; anything else was refused already.
        destination: where to connect to. With UDP_ASSOCIATE it is the address that the program
            says it will send from, which most leave at zeros; the network is then UDP.
        user: who asks, as named in the accounts; None where no password is asked for.
    """

    command: Command
    destination: Destination
    user: str | None = None


@attrs.frozen(kw_only=True)
class ConnectionClosed:
    """The program ended the connection before its request, between two messages."""


@attrs.frozen(kw_only=True)
class Reply:
    """What became of the request.

    Attributes:
        code: anything but SUCCEEDED ends the conversation.
        bound: our end of the connection, or where datagrams are to be sent; None writes zeros.
    """

    code: ReplyCode
    bound: Destination | None = None


@attrs.frozen(kw_only=True)
class UdpDatagram:
    """One datagram inside the header of RFC 1928 section 7.

    Attributes:
        destination: where it goes to or, on the way back, came from.
        payload: its content.
    """

    destination: Destination
    payload: bytes = attrs.field(repr=lambda payload: f"<{len(payload)} bytes>")
