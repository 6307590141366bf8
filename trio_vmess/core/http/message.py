"""What a proxy does to requests and responses on their way: pure functions.

RFC numbers are those of HTTP semantics (9110) and HTTP/1.1 (9112).
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

import attrs
import h11

from trio_vmess.core.destination import Destination, parse_endpoint
from trio_vmess.core.mixed import parse_requested_host

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that concern one connection only. RFC 9110 section 7.6.1, and those of proxies."""

_ABSOLUTE_FORM: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)")
_AUTHORITY_END: Final = re.compile(r"[/?#]")

Message = h11.Request | h11.InformationalResponse | h11.Response


class NotAbsoluteError(ValueError):
    """A request as one sends it to a web server, not to a proxy."""


@attrs.frozen(kw_only=True)
class Target:
    """An absolute form taken apart.

    Attributes:
        destination: host and port.
        authority: `host` or `host:port` as written: the value of the Host header.
        origin_form: `/path?query`, or `*`.
    """

    destination: Destination
    authority: str
    origin_form: str


def parse_destination(authority: str, *, default_port: int | None = None) -> Destination:
    """Read `host:port`.

    Raises:
        ValueError: with a sentence about the mistake. Port 0 is one, and so is a missing port
            without a default (RFC 9110 section 9.3.6, for CONNECT).
    """
    if "@" in authority:
        raise ValueError("the address contains a user name; send it in a header")
    host, port = parse_endpoint(authority, default_port=default_port)
    if port == 0:
        raise ValueError(f"{authority!r}: port 0 cannot be reached")
    return Destination(host=parse_requested_host(str(host)), port=port)


def parse_absolute_form(target: str, method: str) -> Target:
    """Take `http://host:port/path?query` apart.

    An `https` address is taken, with its default port, as V2Ray does; the connection is then not
    encrypted by us. User name and password in an address are refused (RFC 9110 section 4.2.4), and
    a fragment is dropped.

    Raises:
        NotAbsoluteError: there is no scheme.
        ValueError: the address cannot be used.
    """
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise NotAbsoluteError(f"{target!r} is not an absolute address")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"the scheme {scheme!r} is neither http nor https")
    end = _AUTHORITY_END.search(match["rest"])
    split = len(match["rest"]) if end is None else end.start()
    authority = match["rest"][:split].removesuffix(":")
    origin_form = match["rest"][split:].partition("#")[0]
    if not origin_form and method == "OPTIONS":
        origin_form = "*"
    elif not origin_form.startswith("/"):
        origin_form = "/" + origin_form
    return Target(
        destination=parse_destination(authority, default_port=DEFAULT_PORTS[scheme]),
        authority=authority,
        origin_form=origin_form,
    )


def parse_origin_form(target: str, host: str) -> Target:
    """Take a request for a web server, and its Host header, as one for a proxy.

    The port is 80 unless the header says otherwise.

    Raises:
        NotAbsoluteError: this is not an origin form, or the header is empty.
        ValueError: the header is not an address.
    """
    if not (target.startswith("/") or target == "*") or not host:
        raise NotAbsoluteError(f"{target!r} for {host!r} is not a request for a proxy")
    destination = parse_destination(host, default_port=DEFAULT_PORTS["http"])
    return Target(destination=destination, authority=host, origin_form=target)


def comma_list(message: Message, name: bytes) -> set[bytes]:
    """Return the members of a comma-separated header, in lower case."""
    members = (
        member.strip().lower()
        for found, value in message.headers
        if found == name
        for member in value.split(b",")
    )
    return {member for member in members if member}


def end_to_end_headers(message: Message) -> list[tuple[bytes, bytes]]:
    """Return the headers that go on to the next hop, in order and as written.

    Framing (Content-Length, Transfer-Encoding) is left out too: it is made anew for each hop, so no
    header that names it in `Connection` can take it away.
    """
    dropped = HOP_BY_HOP | comma_list(message, b"connection") | {b"content-length"}
    return [
        (name, value) for name, value in message.headers.raw_items() if name.lower() not in dropped
    ]


def check_request_framing(request: h11.Request) -> None:
    """Refuse what two servers might frame differently.

    Raises:
        ValueError: both Content-Length and Transfer-Encoding, or the latter in HTTP/1.0.

    Source:
        RFC 9112 section 6.1.
    """
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" not in names:
        return
    if b"content-length" in names:
        raise ValueError("a request cannot have both Content-Length and Transfer-Encoding")
    if request.http_version == b"1.0":
        raise ValueError("HTTP/1.0 does not have Transfer-Encoding")


def declares_body(request: h11.Request) -> bool:
    """Return whether a request has a body, going by its headers."""
    found = dict(request.headers)
    return b"transfer-encoding" in found or int(found.get(b"content-length", b"0")) > 0


def expects_continue(request: h11.Request) -> bool:
    """Return whether the client waits for a 100 before it sends the body.

    RFC 9110 section 10.1.1: in HTTP/1.0 the header means nothing.
    """
    waits = b"100-continue" in comma_list(request, b"expect")
    return waits and request.http_version != b"1.0"


def framing_header(message: Message) -> list[tuple[bytes, bytes]]:
    """Return the one header that frames this body for the next hop; none where there is no body."""
    found = dict(message.headers)
    if b"transfer-encoding" in found:
        return [(b"Transfer-Encoding", b"chunked")]
    if b"content-length" in found:
        return [(b"Content-Length", found[b"content-length"])]
    return []


def origin_request(request: h11.Request, target: Target) -> h11.Request:
    """Rewrite a proxy request into one for the server itself.

    The Host header is made from the address (RFC 9112 section 3.2.2). An HTTP/1.0 client's Expect
    is left out: it would not understand the 100 (RFC 9110 section 10.1.1).
    """
    dropped = {b"host"}
    if request.http_version == b"1.0":
        dropped.add(b"expect")
    headers = [
        (b"Host", target.authority.encode("ascii")),
        *(
            (name, value)
            for name, value in end_to_end_headers(request)
            if name.lower() not in dropped
        ),
        *framing_header(request),
        (b"Connection", b"close"),
    ]
    return h11.Request(method=request.method, target=target.origin_form, headers=headers)


def client_response(
    response: h11.Response, *, extra: Iterable[tuple[bytes, bytes]] = ()
) -> h11.Response:
    """Rewrite a server's response for the client.

    A length that is known stays. Where it is not, h11 picks chunks or, for HTTP/1.0, the end of the
    connection.
    """
    headers = end_to_end_headers(response)
    found = dict(response.headers)
    # RFC 9110 section 8.6: a 204 has no Content-Length, whatever the server says.
    if response.status_code != 204 and b"transfer-encoding" not in found:
        headers += framing_header(response)
    return h11.Response(
        status_code=response.status_code,
        reason=response.reason,
        headers=[*headers, *extra],
    )


def parse_basic_credentials(request: h11.Request) -> tuple[bytes, bytes] | None:
    """Return user name and password from Proxy-Authorization, or None if they are not there.

    Source:
        RFC 7617 section 2.
    """
    values = [value for name, value in request.headers if name == b"proxy-authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None
