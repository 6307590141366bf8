"""The wire format of queries and replies: dnspython is used here and nowhere else.

Source:
    RFC 1035 (messages), RFC 2308 (the TTL of "no"), RFC 6891 and RFC 7871 (EDNS).
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Final, cast

import attrs
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA

from trio_vmess.core import IPAddress
from trio_vmess.dns.answers import Answer, Query
from trio_vmess.errors import DialError, DialFailure

PAYLOAD_SIZE: Final = 1232
"""Bytes of a reply by UDP that arrive unfragmented. Source: DNS Flag Day 2020."""

_SUBNET_BITS: Final = {4: 24, 6: 96}
"""How many bits of the client's address go into a query, by IP version.

Source:
    v2ray-core, app/dns/dnscommon.go.
"""


@attrs.frozen(kw_only=True)
class Reply:
    """A decoded reply.

    Attributes:
        answer: its content.
        is_truncated: it was too large for a datagram and lacks a part.
    """

    answer: Answer
    is_truncated: bool = False


class QueryMessage:
    """A query in wire format, with a random id of its own.

    Args:
        query: the question.
        client_ip: the client's address; the server is told a part of it and may answer with a host
            that is close to the client.

    Attributes:
        dns_message: the query as dnspython has it.
        wire: the bytes to send.

    Raises:
        DialError: the name is not valid in DNS.
    """

    def __init__(self, query: Query, client_ip: IPAddress | None = None) -> None:
        options: list[dns.edns.Option] = []
        if client_ip is not None:
            options.append(dns.edns.ECSOption(str(client_ip), _SUBNET_BITS[client_ip.version]))
        kind = dns.rdatatype.A if query.family == socket.AF_INET else dns.rdatatype.AAAA
        try:
            self.dns_message = dns.message.make_query(
                query.name + ".", kind, use_edns=0, payload=PAYLOAD_SIZE, options=options
            )
        except (dns.exception.DNSException, UnicodeError) as exc:
            reason = DialFailure.NAME_NOT_FOUND
            raise DialError(
                f"{query.name} is not a valid domain name: {exc}", reason=reason
            ) from None
        self.wire = self.dns_message.to_wire()

    def read(self, data: bytes) -> Reply | None:
        """Decode a message that may be the reply.

        Returns:
            The reply; None for anything but a reply to this very query.

        Raises:
            DialError: the reply is an error, or malformed.
        """
        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError, IndexError):
            return None
        # Checks id and question; a server that failed may leave out the question.
        if not self.dns_message.is_response(message):
            return None
        return read_message(message)


async def ask_https(
    query: QueryMessage, url: str, *, bootstrap: str | None, tls: ssl.SSLContext
) -> Reply:
    """Send a query by HTTPS and decode the reply.

    Args:
        query: what to send.
        url: as in `https://dns.example/dns-query`.
        bootstrap: the address of the URL's host; None if that is an address itself.
        tls: how the server is verified.

    Raises:
        DialError: the server cannot be reached, or its reply is an error or malformed.

    Source:
        RFC 8484.
    """
    # Imported here: it loads an HTTP client, which most nodes never use.
    import dns.asyncquery

    try:
        message = await dns.asyncquery.https(  # pyright: ignore[reportUnknownMemberType]
            query.dns_message, url, bootstrap_address=bootstrap, verify=tls
        )
    except Exception as exc:
        # The exceptions are those of several libraries, some in groups. In any case,
        # this server did not reply.
        raise _failure(_reason(exc)) from exc
    return read_message(message)


def read_message(message: dns.message.Message) -> Reply:
    """Return the content of a reply.

    Raises:
        DialError: it is an error, or malformed.
    """
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _failure(f"the server answered {dns.rcode.to_text(rcode)}")
    if not isinstance(message, dns.message.QueryMessage):
        raise _failure("the server's reply is not a reply to a query")
    try:
        result = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError) as exc:
        raise _failure(f"the server's reply is malformed: {type(exc).__name__}") from None
    addresses = tuple(
        ipaddress.ip_address(record.address)
        for record in cast("Iterable[dns.rdata.Rdata]", result.answer or ())
        if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA)
    )
    return Reply(
        answer=Answer(addresses=addresses, ttl=float(result.minimum_ttl)),
        is_truncated=bool(message.flags & dns.flags.TC),
    )


def _reason(exc: BaseException) -> str:
    """Return the first text in a chain of exceptions: HTTP clients raise empty ones on top."""
    inner = exc.__cause__ or exc.__context__
    return f"{type(exc).__name__}: {exc}" if str(exc) or inner is None else _reason(inner)


def _failure(text: str) -> DialError:
    return DialError(text, reason=DialFailure.NAME_NOT_FOUND)
