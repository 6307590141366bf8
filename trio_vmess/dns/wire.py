"""The wire format of questions and answers: the only place where dnspython is used.

Source:
    RFC 1035 (messages), RFC 2308 (how long "no" holds), RFC 6891 and RFC 7871 (EDNS).
"""

import ipaddress
import socket
import ssl
from typing import Final

import attrs
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA

from trio_vmess.core import IPAddress
from trio_vmess.dns.answers import Answer, Query
from trio_vmess.errors import DialError, DialFailure

PAYLOAD_SIZE: Final = 1232
"""Bytes of an answer by UDP that arrive unfragmented. Source: DNS Flag Day 2020."""

_SUBNET_BITS: Final = {4: 24, 6: 96}
"""How much of our address servers are told. Source: v2ray-core, app/dns/dnscommon.go."""


@attrs.frozen(kw_only=True)
class Reply:
    """An answer, as it came.

    Attributes:
        answer: what it says.
        is_truncated: there was no room for all of it.
    """

    answer: Answer
    is_truncated: bool = False


class QueryMessage:
    """One question on its way, with a random number of its own.

    Args:
        query: what is asked.
        client_ip: of whom the server is told a part, so that it can answer with what is near.

    Attributes:
        dns_message: the query as dnspython has it.
        wire: the bytes to send.

    Raises:
        DialError: the name cannot be written down.
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
            raise DialError(f"{query.name} is no name: {exc}", reason=reason) from None
        self.wire = self.dns_message.to_wire()

    def read(self, data: bytes) -> Reply | None:
        """Read what may be the answer.

        Returns:
            None for what is no answer to this very query: anybody may send datagrams.

        Raises:
            DialError: the server says that it could not find out.
        """
        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError, IndexError):
            return None
        # A server that failed may leave the question out; its number is ours all the same.
        if not self.dns_message.is_response(message):
            return None
        return read_message(message)


async def ask_https(
    query: QueryMessage, url: str, *, bootstrap: str | None, tls: ssl.SSLContext
) -> Reply:
    """Ask a server by HTTPS.

    Args:
        query: what is asked.
        url: as in `https://dns.example/dns-query`.
        bootstrap: the address of the URL's host; None if that is an address itself.
        tls: how the server proves who it is.

    Raises:
        DialError: there is no answer, or none that makes sense.

    Source:
        RFC 8484.
    """
    # Not above: it loads an HTTP client, which most nodes never use.
    import dns.asyncquery

    try:
        message = await dns.asyncquery.https(
            query.dns_message, url, bootstrap_address=bootstrap, verify=tls
        )
    except Exception as exc:
        # The client's exceptions are those of several libraries, in groups, too. Whatever it is,
        # this server did not answer.
        raise _failure(_reason(exc)) from exc
    return read_message(message)


def read_message(message: dns.message.Message) -> Reply:
    """Return what an answer says.

    Raises:
        DialError: that its sender could not find out, or nothing that makes sense.
    """
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _failure(f"the server answers {dns.rcode.to_text(rcode)}")
    if not isinstance(message, dns.message.QueryMessage):
        raise _failure("the server's answer is no answer to a question")
    try:
        result = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError) as exc:
        raise _failure(f"the server's answer makes no sense: {type(exc).__name__}") from None
    addresses = tuple(
        ipaddress.ip_address(record.address)
        for record in result.answer or ()
        if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA)
    )
    return Reply(
        answer=Answer(addresses=addresses, ttl=float(result.minimum_ttl)),
        is_truncated=bool(message.flags & dns.flags.TC),
    )


def _reason(exc: BaseException) -> str:
    """Return the first words in a chain of exceptions: HTTP clients wrap, and say nothing."""
    inner = exc.__cause__ or exc.__context__
    return f"{type(exc).__name__}: {exc}" if str(exc) or inner is None else _reason(inner)


def _failure(text: str) -> DialError:
    return DialError(text, reason=DialFailure.NAME_NOT_FOUND)
