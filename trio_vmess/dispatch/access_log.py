"""The log lines of a connection: accepted or rejected, closed, and what went wrong.

In the error log, the source, a reason from a fixed list and the user are arguments of their own:
whoever writes it sums up by them what repeats itself. The sentence with the details comes last.
"""

import logging
from typing import Final

import trio

from trio_vmess.core import Flow
from trio_vmess.dispatch.connection import Connection, Observer
from trio_vmess.relay import CloseReason

access_log: Final = logging.getLogger("trio_vmess.access")
log: Final = logging.getLogger("trio_vmess.dispatch")


class AccessLog(Observer):
    """Writes a line when a connection is accepted or rejected, and one when it closes."""

    def connected(self, connection: Connection) -> None:
        """See `Observer.connected`."""
        if access_log.isEnabledFor(logging.INFO):
            access_log.info("accepted %s", _describe(connection))

    def closed(self, connection: Connection) -> None:
        """See `Observer.closed`."""
        reason = connection.close_reason or CloseReason.CANCELLED
        if reason is CloseReason.UNREACHABLE:
            if access_log.isEnabledFor(logging.INFO):
                fault = quoted(connection.fault)
                access_log.info("rejected %s reason=%s", _describe(connection), fault)
            failure = connection.failure
            _log_fault(
                "dispatch.unreachable source=%s reason=%r user=%s %s detail=%s",
                "no route" if failure is None else failure.value,
                connection,
            )
            return
        if connection.fault:
            _log_fault(
                "dispatch.fault source=%s reason=%r user=%s %s detail=%s", reason.value, connection
            )
        if access_log.isEnabledFor(logging.INFO):
            meter = connection.meter
            access_log.info(
                "closed %s up=%d down=%d%s seconds=%.3f reason=%s",
                _describe(connection),
                meter.uplink,
                meter.downlink,
                f" dropped={meter.dropped}" if meter.dropped else "",
                trio.current_time() - connection.since,
                quoted(reason.value),
            )


def _log_fault(template: str, reason: str, connection: Connection) -> None:
    if log.isEnabledFor(logging.INFO):
        log.info(
            template,
            connection.flow.source or "-",
            reason,
            name_user(connection.flow),
            describe_way(connection),
            quoted(connection.fault),
        )


def _describe(connection: Connection) -> str:
    """Return the fields of every line of the access log: who, and by which way to where."""
    flow = connection.flow
    return f"source={flow.source or '-'} user={name_user(flow)} {describe_way(connection)}"


def name_user(flow: Flow) -> str:
    """Return the user as lines name them."""
    return quoted(flow.user.email or "-")


def describe_way(connection: Connection) -> str:
    """Return the fields carrier, network, destination, sniffed name and outbound."""
    flow = connection.flow
    sniffed = flow.sniffed_protocol
    if flow.sniffed_domain:
        sniffed += f":{flow.sniffed_domain}"
    carrier = f"carrier={flow.carrier} " if flow.carrier else ""
    return (
        f"{carrier}network={flow.destination.network} destination={quoted(str(flow.destination))} "
        f"{f'sniffed={sniffed} ' if sniffed else ''}outbound={connection.outbound_tag or '-'}"
    )


def quoted(text: str) -> str:
    """Return a value of a log line, quoted if it has spaces or unprintable characters.

    Names come from clients: none may start a new line or send control codes to a terminal.
    """
    return ascii(text) if " " in text or not text.isprintable() else text
