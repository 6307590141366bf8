"""The server's side of an upgrade: who gets a tunnel, and what everybody else is told.

The shell loops: it gives what comes to `receive_data` and asks `next_event`. `Upgraded` ends the
conversation. For `Refused` there is the choice between an answer in the manner of nginx, after
which the next request may come, and somebody else's answer: all bytes are still there.
"""

import re
from typing import Final
from urllib.parse import unquote

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.carriage.nginx import NginxPage, nginx_answer
from trio_vmess.core.carriage.upgrade.early_data import EARLY_DATA_HEADER, decode_early_data
from trio_vmess.core.carriage.upgrade.request import MalformedError, RequestHead, RequestReader
from trio_vmess.core.carriage.upgrade.words import (
    PROTOCOL,
    VERSION,
    UpgradeKind,
    accept_of,
    has_token,
    is_key,
)

_LINE_PEEK: Final = 4096
"""Bytes of an unfinished head that are looked at."""

_LINE: Final = re.compile(rb"[\r\n]*[A-Z_-]+ (/[^ \r\n%?]*)(.?)", re.DOTALL)
"""A request's method and path, as far as it has come, and what ends the path."""


@attrs.frozen(kw_only=True)
class UpgradeRules:
    """What a request must look like to get a tunnel.

    Attributes:
        kind: of which sort.
        path: compared with the requested one, without its query; both may be percent-encoded.
        host: compared with the Host header, without case and port; empty for any.
        early_data_header: the header that may hold the first bytes of the stream; empty if they are
            behind the path, None if they are nowhere.
    """

    kind: UpgradeKind = UpgradeKind.WEBSOCKET
    path: str = "/"
    host: str = ""
    early_data_header: str | None = EARLY_DATA_HEADER


@attrs.frozen(kw_only=True)
class Upgraded:
    """The connection is a tunnel once `answer` is sent.

    Attributes:
        answer: the response.
        early_data: the first bytes of the stream, from the request itself.
        trailing: what has come behind the head: frames, or further bytes of the stream.
        head: the request, for the log and for `X-Forwarded-For`.
    """

    answer: bytes = attrs.field(repr=False)
    early_data: bytes = attrs.field(repr=False)
    trailing: bytes = attrs.field(repr=False)
    head: RequestHead


@attrs.frozen(kw_only=True)
class Refused:
    """A request that gets no tunnel.

    Attributes:
        page: what nginx would answer.
        came: what was asked for, for the log.
        expected: what would have been served, for the log.
        keep_alive: whether the next request may be read once this one is answered.
        received: all bytes from the beginning of this request on, for whoever answers instead.
        head: the request; None where it is malformed.
    """

    page: NginxPage
    came: str
    expected: str
    keep_alive: bool
    received: bytes = attrs.field(repr=False)
    head: RequestHead | None = None

    def __str__(self) -> str:
        return f"{self.came}; expected: {self.expected}"

    def answer(self, now: int) -> bytes:
        """Return what nginx would answer at `now`, in UTC seconds."""
        return nginx_answer(
            self.page,
            now=now,
            keep_alive=self.keep_alive,
            with_body=self.head is None or self.head.method != "HEAD",
            user_agent=self.head.value("user-agent") if self.head else "",
        )


class _MismatchError(ValueError):
    """A request does not fit; the arguments are what came and what was expected."""


class UpgradeServer:
    """One conversation, up to the moment when the connection is a tunnel.

    Args:
        rules: who gets it.
        judges_early: refuse as soon as the path is seen to be another one. Somebody else answers,
            and may do so before the head is whole.
    """

    def __init__(self, rules: UpgradeRules, *, judges_early: bool = False) -> None:
        self._rules = rules
        self._judges_early = judges_early
        self._reader = RequestReader()
        self._finished = False

    @property
    def received(self) -> bytes:
        """All that has come from the beginning of the last request on."""
        return self._reader.received

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the client sent."""
        self._reader.receive_data(data)

    def next_event(self) -> Upgraded | Refused | NeedData:
        """Judge the next request.

        Returns:
            `Upgraded` once; `Refused`, after which the body of the request is dropped and the next
            one is judged if it is `keep_alive`; `NEED_DATA` before there is a whole head, and after
            the last event.
        """
        if self._finished:
            return NEED_DATA
        try:
            head = self._reader.next_request()
        except MalformedError as exc:
            self._finished = True
            return self._malformed(exc)
        if head is NEED_DATA:
            return self._judge_beginning() if self._judges_early else NEED_DATA
        try:
            early_data, echo = _match_target(head, self._rules)
            _match_host(head, self._rules.host)
            _match_headers(head, self._rules.kind)
        except _MismatchError as exc:
            return self._refused(head, *exc.args)
        self._finished = True
        return Upgraded(
            answer=_switch(head, echo),
            early_data=early_data,
            trailing=self._reader.trailing_data,
            head=head,
        )

    def _judge_beginning(self) -> Refused | NeedData:
        """Refuse a request whose path cannot become the tunnel's any more."""
        line = _LINE.match(self._reader.peek(_LINE_PEEK))
        if line is None:
            return NEED_DATA
        asked, path = line[1].decode("latin-1"), _path_of(self._rules)
        if self._rules.early_data_header == "":
            is_possible = asked.startswith(path) or (not line[2] and path.startswith(asked))
        elif line[2] in (b"", b"%"):
            is_possible = unquote(path).startswith(asked)
        else:
            is_possible = asked == unquote(path)
        if is_possible:
            return NEED_DATA
        self._finished = True
        return Refused(
            page=NginxPage.NOT_FOUND,
            came=f"path {asked}",
            expected=f"path {path}",
            keep_alive=False,
            received=self._reader.received,
        )

    def _malformed(self, exc: MalformedError) -> Refused:
        return Refused(
            page=exc.page,
            came=str(exc),
            expected="an HTTP/1.1 request",
            keep_alive=False,
            received=self._reader.received,
        )

    def _refused(self, head: RequestHead, came: str, expected: str) -> Refused:
        page = NginxPage.where_nothing_is(head.method)
        self._finished = not head.is_persistent
        return Refused(
            page=page,
            came=came,
            expected=expected,
            keep_alive=head.is_persistent,
            received=self._reader.received,
            head=head,
        )


def _match_target(head: RequestHead, rules: UpgradeRules) -> tuple[bytes, str]:
    """Compare the paths, and take early data from wherever it may be.

    Returns:
        The early data, and the value that has to be sent back with the answer, if any.

    Raises:
        _MismatchError: this is another path.
    """
    path = _path_of(rules)
    name = rules.early_data_header
    if name == "" and head.target.startswith(path):
        early_data = decode_early_data(head.target.removeprefix(path))
        if early_data is None:
            raise _MismatchError(f"path {head.target}", f"path {path} and early data in base64")
        return early_data, ""
    asked = head.target.partition("?")[0]
    if unquote(asked) != unquote(path):
        raise _MismatchError(f"path {asked}", f"path {path}")
    if not name:
        return b"", ""
    text = head.value(name.lower())
    # Xray's habit: what is not base64 is a header like any other.
    early_data = decode_early_data(text) or b""
    # A browser gives up unless the subprotocol that it offers is taken.
    is_subprotocol = name.lower() == EARLY_DATA_HEADER.lower()
    return early_data, text if early_data and is_subprotocol else ""


def _path_of(rules: UpgradeRules) -> str:
    path = rules.path.partition("?")[0]
    return path if path.startswith("/") else "/" + path


def _match_host(head: RequestHead, host: str) -> None:
    """Compare the hosts.

    Raises:
        _MismatchError: this is another one.
    """
    asked = head.value("host")
    if host and _bare_host(asked) != _bare_host(host):
        raise _MismatchError(f"Host {asked}", f"Host {host}")


def _bare_host(text: str) -> str:
    """Take the port away."""
    text = text.strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]


def _match_headers(head: RequestHead, kind: UpgradeKind) -> None:
    """Look for the words of an upgrade.

    Raises:
        _MismatchError: one is missing.
    """
    if not has_token(head.values("upgrade"), PROTOCOL):
        raise _MismatchError(
            "no header Upgrade: websocket (does the proxy in front pass it on?)",
            "a request to upgrade",
        )
    if not has_token(head.values("connection"), "upgrade"):
        raise _MismatchError(
            "no header Connection: Upgrade (does the proxy in front pass it on?)",
            "a request to upgrade",
        )
    if kind is UpgradeKind.HTTP_UPGRADE:
        return
    if head.method != "GET":
        raise _MismatchError(f"the method {head.method}", "GET")
    version, key = head.value("sec-websocket-version"), head.value("sec-websocket-key")
    if not key:
        raise _MismatchError(
            "no header Sec-WebSocket-Key (is the client set to httpupgrade?)", "a WebSocket"
        )
    if not is_key(key):
        raise _MismatchError("a Sec-WebSocket-Key that is not 16 bytes in base64", "a WebSocket")
    if version != VERSION:
        raise _MismatchError(f"WebSocket version {version or 'none'}", f"version {VERSION}")


def _switch(head: RequestHead, echo: str) -> bytes:
    """Write the answer, in the words that all clients compare."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        f"Upgrade: {PROTOCOL}",
        "Connection: Upgrade",
    ]
    # Xray sends a key with HTTPUpgrade, too, and V2Ray and sing-box none.
    if key := head.value("sec-websocket-key"):
        lines.append(f"Sec-WebSocket-Accept: {accept_of(key)}")
    if echo:
        lines.append(f"{EARLY_DATA_HEADER}: {echo}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
