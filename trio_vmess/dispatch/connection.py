"""A running connection: its state, a handle to cancel it, and observers of its lifecycle."""

import attrs
import trio

from trio_vmess.contracts import Transport
from trio_vmess.core import Flow
from trio_vmess.errors import DialFailure
from trio_vmess.relay import CloseReason, Meter


@attrs.define(eq=False, kw_only=True)
class Connection:
    """One running flow.

    Attributes:
        flow: user, source and destination, with the sniffed name.
        outbound_tag: the outbound that has connected it or is connecting it; empty before one is
            chosen.
        since: when the request was accepted, on Trio's clock.
        client: what carries the client's bytes; None for datagrams.
        meter: bytes carried so far.
        close_reason: why it has ended or is about to end; None while it runs.
        fault: a sentence with the details; may be empty.
        failure: why an outbound did not reach the destination; None if it was not asked to.
    """

    flow: Flow
    since: float
    outbound_tag: str = ""
    client: Transport | None = None
    meter: Meter = attrs.field(factory=Meter)
    close_reason: CloseReason | None = None
    fault: str = ""
    failure: DialFailure | None = None
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    def cancel(self, reason: CloseReason = CloseReason.OPERATOR) -> None:
        """End the connection from outside.

        While it relays data, it ends at once. While it is being connected, it ends as soon as the
        outbound has succeeded or failed. After it has ended, nothing happens.

        Args:
            reason: appears in the closing line of the log.
        """
        self.note_end(reason)
        if self._scope is not None:
            self._scope.cancel()

    def note_end(
        self, reason: CloseReason, fault: str = "", failure: DialFailure | None = None
    ) -> None:
        """Record why the connection ends; the first reason is kept."""
        if self.close_reason is None:
            self.close_reason, self.fault, self.failure = reason, fault, failure

    def attach(self, scope: trio.CancelScope | None) -> None:
        """Set the cancel scope of the running relay; None when it has ended."""
        self._scope = scope
        if scope is not None and self.close_reason is not None:
            # Somebody has ended it while its client was told that it is connected.
            scope.cancel()


class Observer:
    """Callbacks for connections that open, connect and close; override those that are needed.

    They are called from the connection's own task and are synchronous; they must not raise.
    """

    def opened(self, connection: Connection) -> None:
        """A request has been read; no outbound has been chosen yet."""

    def connected(self, connection: Connection) -> None:
        """The outbound `outbound_tag` has connected it."""

    def closed(self, connection: Connection) -> None:
        """It has ended: `close_reason` and `meter` are final."""
