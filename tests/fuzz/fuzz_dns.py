"""Fuzz DNS messages.

The first byte of an input says what the rest is:

    '4'   a message that answers a query for IPv4 addresses
    '6'   the same for IPv6
    'n'   a name to ask for
"""

import math
import socket
from collections.abc import Iterator, Mapping
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from trio_vmess.dns.answers import Query
from trio_vmess.dns.wire import QueryMessage
from trio_vmess.errors import DialError

_NAME: Final = "www.example"
_ID: Final = 0x4944

_QUERIES: Final[Mapping[bytes, Query]] = {
    b"4": Query(_NAME, socket.AF_INET),
    b"6": Query(_NAME, socket.AF_INET6),
}
_VERSIONS: Final = {b"4": 4, b"6": 6}


def _message(form: bytes) -> QueryMessage:
    message = QueryMessage(_QUERIES[form])
    message.dns_message.id = _ID
    return message


MESSAGES: Final = {form: _message(form) for form in _QUERIES}

_ALIASED: Final = (("www.example.", "CNAME", "a.example."), ("a.example.", "CNAME", "b.example."))
_RECORDS: Final = {
    b"4": ("b.example.", "A", "192.0.2.1", "192.0.2.2"),
    b"6": ("b.example.", "AAAA", "2001:db8::1", "::ffff:192.0.2.1"),
}


def _record(name: str, kind: str, *texts: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, 60, "IN", kind, *texts)


def _seeds() -> Iterator[bytes]:
    for form, message in MESSAGES.items():
        empty = dns.message.make_response(message.dns_message)
        yield form + empty.to_wire()
        full = dns.message.make_response(message.dns_message)
        full.answer += [_record(*each) for each in (*_ALIASED, _RECORDS[form])]
        full.flags |= dns.flags.TC
        yield form + full.to_wire()
        negative = dns.message.make_response(message.dns_message)
        negative.authority.append(_record("example.", "SOA", "a. b. 1 2 3 4 5"))
        negative.set_rcode(dns.rcode.NXDOMAIN)
        yield form + negative.to_wire()
        failed = dns.message.make_response(message.dns_message)
        failed.set_rcode(dns.rcode.SERVFAIL)
        failed.question.clear()
        yield form + failed.to_wire()
    for name in ("www.example", "a..b", "a" * 64, "bücher.example", "\\000.example", "a.b."):
        yield b"n" + name.encode()


SEEDS: Final = tuple(_seeds())
TOKENS: Final = (b"\xc0\x0c", b"\x00\x01\x00\x01", b"\x00\x05\x00\x01", b"\x00\x06", b"\x00\x29")


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `DialError` comes out; only a reply with the query's id counts; and what it
    says are addresses of the family that was asked for, and a time for which they hold.
    """
    form, rest = data[:1], data[1:]
    if form == b"n":
        _check_name(rest.decode("utf-8", "surrogateescape"))
        return
    message = MESSAGES.get(form)
    if message is None:
        return
    try:
        reply = message.read(rest)
    except DialError:
        reply = None
    if reply is None:
        return
    if rest[:2] != _ID.to_bytes(2, "big"):
        raise ValueError(f"{reply} is not a reply to this query")
    answer = reply.answer
    if any(address.version != _VERSIONS[form] for address in answer.addresses):
        raise ValueError(f"{reply}: nobody asked for these addresses")
    if not (math.isfinite(answer.ttl) and answer.ttl >= 0):
        raise ValueError(f"{reply}: no time")


def _check_name(name: str) -> None:
    try:
        message = QueryMessage(Query(name, socket.AF_INET))
    except DialError:
        return
    (asked,) = dns.message.from_wire(message.wire).question
    if asked != message.dns_message.question[0]:
        raise ValueError(f"{name!r} is not what is asked for")
