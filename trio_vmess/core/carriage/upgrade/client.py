"""The client's side of an upgrade: how a connection is made a tunnel, or why it cannot be.

The shell loops: it sends `data_to_send`, asks `next_event`, and gives what comes to `receive_data`.
After `Switched` nothing more is parsed; `trailing_data` are the tunnel's first bytes.
"""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import attrs
import h11

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.carriage.upgrade.early_data import encode_early_data
from trio_vmess.core.carriage.upgrade.words import (
    PROTOCOL,
    VERSION,
    UpgradeKind,
    accept_of,
    encode_key,
    has_token,
)
from trio_vmess.core.entropy import Entropy
from trio_vmess.errors import RemoteProtocolError

_HEAD_SIZE_MAX: Final = 64 * 1024
_KEY_SIZE: Final = 16

_USER_AGENT: Final = "Go-http-client/1.1"
"""V2Ray's, and that of every other program in Go that does not care."""

_OURS: Final = frozenset(
    {"connection", "upgrade", "sec-websocket-key", "sec-websocket-version"}
    | {"sec-websocket-extensions", "content-length", "transfer-encoding"}
)
"""Headers that the settings cannot change: the answer could not be understood."""

_UNRESERVED: Final = "/?:@!$&'()*+,;=-._~%[]"
"""What a path may have as it is, besides letters and digits; the rest is percent-encoded."""

_HINTS: Final = {
    200: "this is a web page: the path is not the tunnel's",
    400: "is TLS set on both ends or on neither, and does the proxy in front pass Upgrade on?",
    401: "the web server in front wants a password",
    403: "the CDN or web server in front forbids it: does it know this Host, and allow WebSockets?",
    404: "path or Host is not what the server expects",
    405: "path or Host is not what the server expects",
    426: "the server expects another kind of tunnel",
    429: "the CDN or web server in front has had enough for now",
    431: "the request is too long: less early data, or fewer headers",
    502: "the web server in front does not reach the tunnel's server behind it",
    503: "the web server in front does not reach the tunnel's server behind it",
    504: "the web server in front does not reach the tunnel's server behind it",
    521: "the CDN does not reach the server",
    522: "the CDN does not reach the server",
    523: "the CDN does not reach the server",
    525: "the CDN expects TLS from the server",
    526: "the CDN does not accept the server's certificate",
}


@attrs.frozen(kw_only=True)
class UpgradeRequest:
    """What a client asks for.

    Attributes:
        kind: of which sort the tunnel is.
        path: with a query, if any; `/` is put in front where it is missing.
        host: the Host header, with a port where it belongs there.
        headers: further ones; they replace User-Agent and Host, but none that the upgrade needs.
        early_data_header: where the first bytes of the stream go; empty for behind the path, None
            for nowhere. The server must have been told the same.
    """

    kind: UpgradeKind = UpgradeKind.WEBSOCKET
    path: str = "/"
    host: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    early_data_header: str | None = None


@attrs.frozen(kw_only=True)
class Switched:
    """The connection is a tunnel from here on."""


@attrs.frozen(kw_only=True)
class NotSwitched:
    """The server does not open the tunnel.

    Attributes:
        status: 200 to 999.
        reason: the phrase behind it, often empty.
        hint: what to look at; empty where there is no telling.
    """

    status: int
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        said = f"the server answered {self.status} {self.reason}".rstrip()
        return f"{said}: {self.hint}" if self.hint else said


class UpgradeClient:
    """One conversation, up to the moment when the connection is a tunnel.

    Args:
        request: what to ask for.
        entropy: for the key of a WebSocket.
        early_data: the first bytes of the stream.

    Raises:
        ValueError: this cannot be written, or there is no place for early data.
    """

    def __init__(
        self, request: UpgradeRequest, *, entropy: Entropy, early_data: bytes = b""
    ) -> None:
        self._finished = False
        self._received = b""
        self._accept = ""
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_SIZE_MAX)
        target, headers = _target_of(request.path), dict[str, str]()
        if early_data:
            text = encode_early_data(early_data)
            if request.early_data_header is None:
                raise ValueError("there is no place for early data")
            if request.early_data_header:
                if request.kind is UpgradeKind.HTTP_UPGRADE:
                    # V2Ray 5 decodes nothing else there.
                    text = base64.urlsafe_b64encode(early_data).decode("ascii")
                headers[request.early_data_header] = text
            else:
                target += text
        if request.kind is UpgradeKind.WEBSOCKET:
            key = encode_key(entropy.token_bytes(_KEY_SIZE))
            self._accept = accept_of(key)
            headers |= {"Sec-WebSocket-Key": key, "Sec-WebSocket-Version": VERSION}
        # HTTPUpgrade has no key: sing-box refuses it, and the others do not ask for it.
        headers |= {"Connection": "Upgrade", "Upgrade": PROTOCOL}
        try:
            event = h11.Request(method="GET", target=target, headers=_in_order(headers, request))
            self._outgoing = self._connection.send(event) or b""
            self._outgoing += self._connection.send(h11.EndOfMessage()) or b""
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise ValueError(f"{target[:100]!r} cannot be requested: {exc}") from None

    def data_to_send(self) -> bytes:
        """Take what is to be sent to the server: the request, once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the server sent; no bytes mean that it has ended its stream."""
        if len(self._received) < len(_HTTP):
            self._received += bytes(data[: len(_HTTP)])
        self._connection.receive_data(bytes(data))

    def next_event(self) -> Switched | NotSwitched | NeedData:
        """Parse the server's answer.

        Returns:
            What became of the request, once; `NEED_DATA` before there is an answer and ever after.

        Raises:
            RemoteProtocolError: this is not an answer to an upgrade; the text says what to look at.
        """
        if self._finished:
            return NEED_DATA
        try:
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return NEED_DATA
                if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    self._check(event)
                    self._finished = True
                    return Switched()
                if isinstance(event, h11.Response):
                    self._finished = True
                    return _not_switched(event)
        except h11.RemoteProtocolError as exc:
            self._finished = True
            # h11 raises it from a frame that refers to it, and so to us: a cycle.
            exc.__traceback__ = None
            raise RemoteProtocolError(self._explain(exc)) from None

    @property
    def trailing_data(self) -> bytes:
        """What the server sent behind its answer: the first bytes of the tunnel."""
        return self._connection.trailing_data[0]

    def _check(self, response: h11.InformationalResponse) -> None:
        """Compare the answer with what was asked for. RFC 6455 section 4.1.

        Raises:
            RemoteProtocolError: it is the answer to something else.
        """
        headers: dict[str, list[str]] = {}
        for name, value in response.headers:
            headers.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
        problem = ""
        if not has_token(headers.get("upgrade", ()), PROTOCOL):
            problem = "it does not switch to websocket"
        elif not has_token(headers.get("connection", ()), "upgrade"):
            problem = "it has no header Connection: Upgrade"
        elif self._accept and headers.get("sec-websocket-accept") != [self._accept]:
            problem = (
                "its Sec-WebSocket-Accept does not fit the key: something in between answers by "
                "itself, or the server speaks httpupgrade"
            )
        elif "sec-websocket-extensions" in headers:
            problem = "it uses an extension that nobody has asked for"
        if problem:
            self._finished = True
            raise RemoteProtocolError(f"the server answered 101, but {problem}")

    def _explain(self, exc: h11.RemoteProtocolError) -> str:
        """Say what is wrong with an answer that is not one in HTTP/1.1."""
        if not self._received:
            return "the server closed the connection without an answer: does it expect TLS?"
        if self._received[:1] in (b"\x15", b"\x16"):
            return "the server speaks TLS: the request was sent without it"
        if not self._received.startswith(_HTTP[: len(self._received)]):
            return (
                "the answer is not HTTP/1.1; where it is HTTP/2, offer http/1.1 alone as ALPN "
                f"({self._received.hex(' ')})"
            )
        return f"the server's answer is malformed: {str(exc).partition(': bytearray(')[0]}"


_HTTP: Final = b"HTTP/1."


def _target_of(path: str) -> str:
    path = path if path.startswith("/") else "/" + path
    return quote(path, safe=_UNRESERVED)


def _in_order(headers: Mapping[str, str], request: UpgradeRequest) -> list[tuple[str, str]]:
    """Put Host and User-Agent first and sort the rest, as Go's client does."""
    chosen = {name.lower(): (name, value) for name, value in headers.items()}
    for name, value in request.headers.items():
        if name.lower() not in _OURS and name.lower() not in chosen:
            chosen[name.lower()] = (name, value)
    _, host = chosen.pop("host", ("", request.host))
    agent = chosen.pop("user-agent", ("User-Agent", _USER_AGENT))
    return [("Host", host), agent, *sorted(chosen.values())]


def _not_switched(response: h11.Response) -> NotSwitched:
    status = response.status_code
    hint = _HINTS.get(status, "")
    if 300 <= status < 400:
        place = dict(response.headers).get(b"location", b"").decode("ascii", "backslashreplace")
        hint = f"it sends us on to {place[:200]!r}: is TLS missing, or the Host another?"
    reason = response.reason.decode("ascii", "backslashreplace")
    return NotSwitched(status=status, reason=reason, hint=hint)
