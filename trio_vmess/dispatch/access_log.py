"""The log lines of a connection: accepted or rejected, closed, and what went wrong."""

import logging
from typing import Final

import trio

from trio_vmess.dispatch.connection import Connection, Observer
from trio_vmess.relay import CloseReason

access_log: Final = logging.getLogger("trio_vmess.access")
log: Final = logging.getLogger("trio_vmess.dispatch")


class AccessLog(Observer):
    """Writes a line when a connection is accepted or rejected, and one when it closes."""

    def connected(self, connection: Connection) -> None:
        """See `Observer.connected`."""
        if access_log.isEnabledFor(logging.INFO):
            access_log.info("accepted %s", describe(connection))

    def closed(self, connection: Connection) -> None:
        """See `Observer.closed`."""
        reason = connection.close_reason or CloseReason.CANCELLED
        fault = quoted(connection.fault)
        if reason is CloseReason.UNREACHABLE:
            if access_log.isEnabledFor(logging.INFO):
                access_log.info("rejected %s reason=%s", describe(connection), fault)
            log.info("dispatch.unreachable %s reason=%s", describe(connection), fault)
            return
        if connection.fault:
            log.info("dispatch.fault %s reason=%s", describe(connection), fault)
        if access_log.isEnabledFor(logging.INFO):
            meter = connection.meter
            access_log.info(
                "closed %s up=%d down=%d%s seconds=%.3f reason=%s",
                describe(connection),
                meter.uplink,
                meter.downlink,
                f" dropped={meter.dropped}" if meter.dropped else "",
                trio.current_time() - connection.since,
                quoted(reason.value),
            )


def describe(connection: Connection) -> str:
    """Return the fields that every line has: source, user, destination, sniffed name, outbound."""
    flow = connection.flow
    sniffed = flow.sniffed_protocol
    if flow.sniffed_domain:
        sniffed += f":{flow.sniffed_domain}"
    return (
        f"source={flow.source or '-'} user={quoted(flow.user.email or '-')} "
        f"network={flow.destination.network} destination={quoted(str(flow.destination))} "
        f"{f'sniffed={sniffed} ' if sniffed else ''}outbound={connection.outbound_tag or '-'}"
    )


def quoted(text: str) -> str:
    """Return a value of a log line, quoted if it has spaces or unprintable characters.

    Names come from clients: none may start a new line or send control codes to a terminal.
    """
    return ascii(text) if " " in text or not text.isprintable() else text
