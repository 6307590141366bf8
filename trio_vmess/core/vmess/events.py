"""The events of a VMess conversation: the same values are received and sent."""

import enum

import attrs

from trio_vmess.core.destination import Destination
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.command import SwitchAccount
from trio_vmess.core.vmess.constants import Command, Security


class HeaderForm(enum.Enum):
    """The two generations of headers."""

    LEGACY = "legacy"
    AEAD = "aead"


@attrs.frozen(kw_only=True)
class Request:
    """The client's header: which user wants to reach what, and how the body is protected.

    Attributes:
        account: the client gives its own; the server finds the registered one.
        destination: where to; for `Command.MUX` it is `MUX_DESTINATION`.
        command: TCP, UDP or Mux; it must agree with the destination's network.
        security: the body's protection.
        options: bits of `Option`.
        timestamp: UTC seconds. A client gives the time; a server gets what was on the wire, where
            a legacy header has jitter.
        form: the header's generation; it follows from account and dialect, and a client may leave
            it out.
    """

    account: Account
    destination: Destination
    command: Command = Command.TCP
    security: Security
    options: int
    timestamp: int
    form: HeaderForm | None = None


@attrs.frozen(kw_only=True)
class Response:
    """The server's header.

    Attributes:
        options: no client reads them.
        switch_account: another port and account for the client to use for a while.
    """

    options: int = 0
    switch_account: SwitchAccount | None = None


@attrs.frozen(kw_only=True)
class Data:
    """Payload: any piece of a stream, or one whole datagram."""

    payload: bytes = attrs.field(repr=lambda payload: f"<{len(payload)} bytes>")


@attrs.frozen(kw_only=True)
class EndOfStream:
    """This direction is over.

    Attributes:
        explicit: the sender sent a terminator, rather than just closing.
    """

    explicit: bool = True


Event = Request | Response | Data | EndOfStream
