"""The head of a request, read in pieces, with a bound, and parsed once by h11."""

import re
from typing import Final

import attrs
import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.carriage.nginx import NginxPage
from trio_vmess.core.carriage.upgrade.words import has_token

HEAD_SIZE_MAX: Final = 32 * 1024
"""Bytes, the empty line included: nginx's four buffers of 8 KiB. V2Ray takes 6 KiB, Xray 12."""

_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
_METHOD: Final = re.compile(rb"[A-Z_-]*(?: |$)")
"""What nginx takes for the beginning of a request; it does not wait for more of anything else."""
_LINE: Final = re.compile(rb"[^ \n]+ [^ \n]+ HTTP/[^ \n]*\n")
"""A request line that is whole. HTTP/0.9 has others, and is not spoken here."""
_TARGET: Final = re.compile(r"/|[A-Za-z]+://")

_PROXY_HEADER: Final = (
    "a PROXY protocol header: accept it here, or take it off in the proxy in front"
)


@attrs.frozen(kw_only=True)
class RequestHead:
    """What a client asks for.

    Attributes:
        method: as in `GET`.
        target: as in `/path?query`.
        version: `1.1` or `1.0`.
        headers: names in lower case, and values, in their order.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)

    def values(self, name: str) -> list[str]:
        """Return the values of a header, in their order; `name` is in lower case."""
        return [value for found, value in self.headers if found == name]

    def value(self, name: str) -> str:
        """Return the first value of a header, empty where there is none."""
        return next(iter(self.values(name)), "")

    @property
    def is_persistent(self) -> bool:
        """Whether the client wants to send more. RFC 9112 section 9.3."""
        if self.method == "TRACE":
            # Source: nginx, which does not go on behind one.
            return False
        options = self.values("connection")
        if self.version == "1.0":
            return has_token(options, "keep-alive")
        return not has_token(options, "close")


class MalformedError(ValueError):
    """What has come is not the head of a request.

    Attributes:
        is_too_large: it could be one, but for its size.
        is_version: it is one of another HTTP.
        is_long_line: its first line alone is too large.
    """

    def __init__(
        self,
        message: str,
        *,
        is_too_large: bool = False,
        is_version: bool = False,
        is_long_line: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_long_line = is_long_line
        self.is_too_large = is_too_large
        self.is_version = is_version

    @property
    def page(self) -> NginxPage:
        """What nginx says to it, before it closes the connection."""
        if self.is_version:
            return NginxPage.VERSION
        if self.is_long_line:
            return NginxPage.TARGET_TOO_LARGE
        return NginxPage.HEAD_TOO_LARGE if self.is_too_large else NginxPage.BAD_REQUEST


class RequestReader:
    """The requests on a connection, one after the other.

    Args:
        line_size_max: bytes of a request's first line.
    """

    def __init__(self, *, line_size_max: int = HEAD_SIZE_MAX) -> None:
        self._line_size_max = line_size_max
        self._received = bytearray()
        self._searched = 0
        self._body: h11.Connection | None = None
        self._head_size = 0

    @property
    def received(self) -> bytes:
        """All that has come from the head of the last request on."""
        return bytes(self._received)

    def peek(self, size: int) -> bytes:
        """Return the first bytes of `received`, `size` at most."""
        return bytes(self._received[:size])

    @property
    def trailing_data(self) -> bytes:
        """What has come behind the head of the last request."""
        return bytes(self._received[self._head_size :])

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the client sent."""
        self._received += data

    def next_request(self) -> RequestHead | NeedData:
        """Parse the next head; the body of the last request is dropped.

        Raises:
            MalformedError: there is no further request.
        """
        if self._body is not None and not self._drop_request(self._body):
            return NEED_DATA
        blank = len(self._received) - len(self._received.lstrip(b"\r\n"))
        if not _METHOD.match(self._received, blank):
            raise MalformedError(_name_foreign(bytes(self._received)))
        self._check_line(blank)
        found = _EMPTY_LINE.search(self._received, max(blank, self._searched - 2))
        size = found.end() if found else len(self._received)
        if size > HEAD_SIZE_MAX:
            raise MalformedError(
                f"a request head of more than {HEAD_SIZE_MAX} bytes", is_too_large=True
            )
        self._searched = len(self._received)
        if found is None:
            return NEED_DATA
        head, connection = _parse(bytes(self._received[blank:size]))
        self._head_size, self._body = size, connection
        return head

    def _check_line(self, start: int) -> None:
        """Look at the first line as soon as it is whole: nobody waits for the rest of nonsense.

        Raises:
            MalformedError: it is no request's.
        """
        if self._received.find(b"\n", start, start + self._line_size_max) >= 0:
            if not _LINE.match(self._received, start):
                raise MalformedError(_name_foreign(bytes(self._received)))
        elif len(self._received) - start >= self._line_size_max < HEAD_SIZE_MAX:
            raise MalformedError(
                f"a request line of more than {self._line_size_max} bytes", is_long_line=True
            )

    def _drop_request(self, body: h11.Connection) -> bool:
        """Drop the last request, head and body; return whether its end has come."""
        if data := self.trailing_data:
            body.receive_data(data)
        del self._received[self._head_size :]
        try:
            while isinstance(event := body.next_event(), h11.Data):
                pass
        except h11.RemoteProtocolError as exc:
            self._received = bytearray(body.trailing_data[0])
            raise MalformedError(f"a malformed body: {_describe(exc)}") from None
        if not isinstance(event, h11.EndOfMessage):
            return False
        self._received = bytearray(body.trailing_data[0])
        self._body, self._head_size, self._searched = None, 0, 0
        return True


def _parse(head: bytes) -> tuple[RequestHead, h11.Connection]:
    """Parse one whole head; the connection is ready for the body.

    Raises:
        MalformedError: it is not one.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_SIZE_MAX)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as exc:
        raise MalformedError(f"a malformed request: {_describe(exc)}") from None
    if not isinstance(event, h11.Request):
        raise MalformedError("a malformed request")
    request = RequestHead(
        method=event.method.decode("ascii"),
        target=event.target.decode("ascii"),
        version=event.http_version.decode("ascii"),
        headers=tuple(
            (name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers
        ),
    )
    if request.values("content-length") and request.values("transfer-encoding"):
        raise MalformedError("a body with two lengths")
    if not _TARGET.match(request.target):
        raise MalformedError(f"a request of {request.target!r}")
    if not request.version.startswith("1."):
        raise MalformedError(f"HTTP/{request.version}", is_version=True)
    return request, connection


def _describe(exc: h11.ProtocolError) -> str:
    """Return h11's message without what it quotes."""
    return str(exc).partition(": bytearray(")[0]


def _name_foreign(received: bytes) -> str:
    """Say what begins like this, if it is something that people run into."""
    if received.startswith(b"\x16"):
        return "a TLS client on a plain port: set TLS here, or take it off there"
    if received.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        return _PROXY_HEADER
    return f"bytes that are no HTTP ({received[:8].hex(' ')})"
