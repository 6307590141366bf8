"""Requests, responses and trailers: what their lists of fields must be like, and what they say.

Source:
    RFC 9113, sections 8.2 and 8.3.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from trio_vmess.errors import RemoteProtocolError

Fields = Sequence[tuple[bytes, bytes]]
"""Names and values in their order."""

_NAME: Final = re.compile(rb"[\x21-\x39\x3b-\x40\x5b-\x7e]+")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$")

_REQUEST_NAMES: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_RESPONSE_NAMES: Final = frozenset({b":status"})

_OF_HTTP_1: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
"""Fields about one connection of HTTP/1.1, which HTTP/2 has no use for."""


@attrs.frozen(kw_only=True)
class Request:
    """What a client asks for.

    Attributes:
        method: as in `GET`.
        scheme: as the client says; says nothing about TLS.
        authority: the host, with a port if the client sent one; empty if it sent none.
        path: with the query.
        fields: the others, in their order.
    """

    method: str
    scheme: str
    authority: str
    path: str
    fields: Fields = ()

    def find(self, name: bytes) -> str:
        """Return the first field of a name, or an empty text."""
        return _find(self.fields, name)


@attrs.frozen(kw_only=True)
class Response:
    """What a server answers.

    Attributes:
        status: 100 to 999.
        fields: the others, in their order.
        body: what follows, if it is known already.
    """

    status: int
    fields: Fields = ()
    body: bytes = attrs.field(default=b"", repr=False)

    def find(self, name: bytes) -> str:
        """Return the first field of a name, or an empty text."""
        return _find(self.fields, name)


def encode_request(request: Request) -> Fields:
    """Return the fields of a request."""
    return (
        (b":method", request.method.encode()),
        (b":scheme", request.scheme.encode()),
        (b":authority", request.authority.encode()),
        (b":path", request.path.encode()),
        *request.fields,
    )


def encode_response(response: Response) -> Fields:
    """Return the fields of a response."""
    return ((b":status", b"%d" % response.status), *response.fields)


def decode_request(fields: Fields) -> Request:
    """Read the fields of a request.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    special, others = _separate(fields, _REQUEST_NAMES)
    method = _text(special, b":method")
    scheme, path = special.get(b":scheme"), special.get(b":path")
    if not method or ((not scheme or not path) and method != "CONNECT"):
        raise RemoteProtocolError("a request without method, scheme or path")
    request = Request(
        method=method,
        scheme=_text(special, b":scheme"),
        authority=_text(special, b":authority"),
        path=_text(special, b":path"),
        fields=others,
    )
    return request if request.authority else attrs.evolve(request, authority=request.find(b"host"))


def decode_response(fields: Fields) -> Response:
    """Read the fields of a response.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    special, others = _separate(fields, _RESPONSE_NAMES)
    status = special.get(b":status", b"")
    if len(status) != 3 or not status.isdigit():
        raise RemoteProtocolError(f"a response with status {status!r}")
    return Response(status=int(status), fields=others)


def decode_trailers(fields: Fields) -> Fields:
    """Check the fields behind a body.

    Raises:
        RemoteProtocolError: they are malformed.
    """
    return _separate(fields, frozenset())[1]


def _separate(fields: Fields, allowed: frozenset[bytes]) -> tuple[Mapping[bytes, bytes], Fields]:
    """Tell the fields with a colon in front, which come first and only once, from the others."""
    special: dict[bytes, bytes] = {}
    others: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise RemoteProtocolError(f"a bad value of {name!r}")
        if name.startswith(b":"):
            if name not in allowed or name in special or others:
                raise RemoteProtocolError(f"{name!r} where it cannot be")
            special[name] = value
            continue
        if not _NAME.fullmatch(name) or name in _OF_HTTP_1:
            raise RemoteProtocolError(f"the field {name!r}")
        if name == b"te" and value != b"trailers":
            raise RemoteProtocolError("a coding of HTTP/1.1 in te")
        others.append((name, value))
    return special, tuple(others)


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("latin-1")


def _find(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in fields if key == name), "")
