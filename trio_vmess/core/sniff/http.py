"""HTTP/1: the server's name in the request line or in the Host header.

Source:
    RFC 9112 sections 3 and 5; v2ray-core, common/protocol/http/sniff.go, for the methods.
"""

import re
from typing import Final

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.sniff.verdict import Sniffed, Verdict, domain_of

PROTOCOL: Final = "http1"

METHODS: Final = (
    *(b"get", b"post", b"head", b"put", b"delete", b"options", b"connect"),
    *(b"patch", b"trace"),
)

_METHOD_SIZE_MAX: Final = max(map(len, METHODS))
_VERSION: Final = re.compile(rb"http/1\.[0-9]")
_SCHEME: Final = re.compile(rb"[a-z][a-z0-9+.-]*://")
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_PORT: Final = re.compile(rb":[0-9]*$")


def sniff_http(data: bytes) -> Verdict:
    """Look for a request at the beginning of a stream.

    The target's authority wins over the Host header (RFC 9112 section 3.2.2), the first Host header
    over others. The verdict falls with the line that has the name; a head without one is HTTP
    without a domain.
    """
    method, space, _ = data[: _METHOD_SIZE_MAX + 1].lower().partition(b" ")
    if not space:
        return NEED_DATA if any(word.startswith(method) for word in METHODS) else None
    if method not in METHODS:
        return None
    line, end, rest = data.partition(b"\n")
    if not end:
        return NEED_DATA
    words = line.lower().split()
    if len(words) != 3 or not _VERSION.fullmatch(words[2]):
        return None
    authority: bytes | NeedData | None = _authority_of(method, words[1])
    if authority is None:
        authority = _host_header_of(rest)
    if authority is NEED_DATA:
        return NEED_DATA
    domain = None if authority is None else domain_of(_host_of(authority))
    return Sniffed(protocol=PROTOCOL, domain=domain)


def _authority_of(method: bytes, target: bytes) -> bytes | None:
    """Return the authority in a request's target; None where it has none."""
    if method == b"connect":
        return target
    scheme = _SCHEME.match(target)
    if scheme is None:
        return None
    rest = target[scheme.end() :]
    end = _AUTHORITY_END.search(rest)
    return rest[: end.start()] if end else rest


def _host_header_of(head: bytes) -> bytes | NeedData | None:
    """Return the first Host header's value; None if the head ends without one."""
    while True:
        line, end, head = head.partition(b"\n")
        if not end:
            return NEED_DATA
        if line in (b"", b"\r"):
            return None
        name, colon, value = line.partition(b":")
        if colon and name.lower() == b"host":
            return value.strip()


def _host_of(authority: bytes) -> bytes:
    """Return the host of `user@host:port`; an absolute name loses its last dot."""
    host = _PORT.sub(b"", authority.rpartition(b"@")[2])
    return host.removesuffix(b".")
