"""A running connection, the handle that ends it, and who is told of it."""

import attrs
import trio

from trio_vmess.core import Flow
from trio_vmess.relay import CloseReason, Meter


@attrs.define(eq=False, kw_only=True)
class Connection:
    """One running flow.

    Attributes:
        flow: who wants to go where, with what was sniffed.
        outbound_tag: the outbound that has connected it, or is trying to; empty before.
        since: when it began, in Trio's time.
        meter: what it has carried so far.
        close_reason: why it has ended, or is about to; None while it goes on.
        fault: a sentence about that, where there is one.
    """

    flow: Flow
    since: float
    outbound_tag: str = ""
    meter: Meter = attrs.field(factory=Meter)
    close_reason: CloseReason | None = None
    fault: str = ""
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    def cancel(self, reason: CloseReason = CloseReason.OPERATOR) -> None:
        """End the connection from outside, with a reason of its own.

        One that carries data ends at once. One that is still being connected ends as soon as that
        has succeeded or failed. To one that has ended already, nothing happens.
        """
        self.note_end(reason)
        if self._scope is not None:
            self._scope.cancel()

    def note_end(self, reason: CloseReason, fault: str = "") -> None:
        """Set why the connection ends; the first reason stays."""
        if self.close_reason is None:
            self.close_reason, self.fault = reason, fault

    def attach(self, scope: trio.CancelScope | None) -> None:
        """Take the scope of the relay while it runs, and None afterwards."""
        self._scope = scope


class Observer:
    """Is told of connections as they open, connect and close. Override what is wanted.

    The methods are called in the midst of a connection's work: they neither wait nor raise.
    """

    def opened(self, connection: Connection) -> None:
        """A request was understood; nobody has been dialled yet."""

    def connected(self, connection: Connection) -> None:
        """An outbound has connected it; `outbound_tag` says which."""

    def closed(self, connection: Connection) -> None:
        """It has ended; `close_reason` and `meter` are final."""
