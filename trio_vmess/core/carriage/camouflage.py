"""The HTTP heads of plain TCP with `header: http`: one each way, and raw bytes behind them.

They are there to be seen by somebody who looks at the first packet, not to be understood by
anything that speaks HTTP: no proxy carries what follows. Each end writes its head once, in front of
its first bytes, and reads over the other's. So nothing here is a parser of HTTP, and what V2Ray
writes without a Host or in any version is taken.
"""

import email.utils
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.carriage.nginx import NginxPage, nginx_answer
from trio_vmess.core.entropy import Entropy
from trio_vmess.errors import RemoteProtocolError

HEAD_SIZE_MAX: Final = 8192
"""Bytes, the empty line included. V2Ray's limit."""

Headers = Mapping[str, Sequence[str]]
"""Names, and the values of which one is picked each time."""

REQUEST_HEADERS: Final[Headers] = {
    "Host": ("www.baidu.com", "www.bing.com"),
    "User-Agent": (
        (
            "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/53.0.2785.143 Safari/537.36"
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 10_0_2 like Mac OS X) AppleWebKit/601.1 "
            "(KHTML, like Gecko) CriOS/53.0.2785.109 Mobile/14A456 Safari/601.1.46"
        ),
    ),
    "Accept-Encoding": ("gzip, deflate",),
    "Connection": ("keep-alive",),
    "Pragma": ("no-cache",),
}
RESPONSE_HEADERS: Final[Headers] = {
    "Content-Type": ("application/octet-stream", "video/mpeg"),
    "Transfer-Encoding": ("chunked",),
    "Connection": ("keep-alive",),
    "Pragma": ("no-cache",),
    "Cache-Control": ("private", "no-cache"),
}
"""V2Ray's own, in its order."""

_END: Final = b"\r\n\r\n"
_WORD: Final = re.compile(r"[!-~]+")
_TARGET: Final = re.compile(r"/[!-~\u0080-\U0010ffff]*")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXT: Final = re.compile(r"[\t -~\u0080-\U0010ffff]*")
_REQUEST_LINE: Final = re.compile(rb"[!-~]+ ([^ ]+) HTTP/[!-~]+")
_REQUEST_START: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |$)")


@attrs.frozen(kw_only=True)
class CamouflageRequest:
    """The head that a client writes; the fields are those of V2Ray's settings.

    Attributes:
        version: as in `1.1`.
        method: any word.
        paths: one is picked each time; a server takes all of them.
        headers: None for V2Ray's own; these are all that is written, sorted by their names.

    Raises:
        ValueError: it cannot be written as a head.
    """

    version: str = "1.1"
    method: str = "GET"
    paths: tuple[str, ...] = ("/",)
    headers: Headers | None = None

    def __attrs_post_init__(self) -> None:
        _require("version", _WORD, self.version)
        _require("method", _NAME, self.method)
        _require("path", _TARGET, *self.paths)
        _require_headers(self.headers)

    def encode(self, entropy: Entropy) -> bytes:
        """Write a head."""
        line = f"{self.method} {_pick(self.paths, entropy)} HTTP/{self.version}"
        return _encode(line, _pick_headers(self.headers, REQUEST_HEADERS, entropy))


@attrs.frozen(kw_only=True)
class CamouflageResponse:
    """The head that a server writes; see `CamouflageRequest`.

    Attributes:
        version: as in `1.1`.
        status: as in `200`.
        reason: the phrase behind it.
        headers: see `CamouflageRequest`; a Date is added where there is none.

    Raises:
        ValueError: it cannot be written as a head.
    """

    version: str = "1.1"
    status: str = "200"
    reason: str = "OK"
    headers: Headers | None = None

    def __attrs_post_init__(self) -> None:
        _require("version", _WORD, self.version)
        _require("status", _WORD, self.status)
        _require("reason", _TEXT, self.reason)
        _require_headers(self.headers)

    def encode(self, entropy: Entropy, now: int) -> bytes:
        """Write a head at `now`, in UTC seconds."""
        line = f"HTTP/{self.version} {self.status} {self.reason}"
        headers = _pick_headers(self.headers, RESPONSE_HEADERS, entropy)
        if not any(name.lower() == "date" for name, _ in headers):
            headers.append(("Date", email.utils.formatdate(now, usegmt=True)))
        return _encode(line, headers)


@attrs.frozen(kw_only=True)
class HeadPassed:
    """The head has been read over.

    Attributes:
        line: its first line, for a log.
        trailing: what has come behind it.
    """

    line: str
    trailing: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class HeadRefused:
    """A server is asked for something else.

    Attributes:
        page: what nginx would answer.
        came: what was asked for, for the log.
        expected: what would have been served, for the log.
        received: all bytes, for whoever answers instead.
    """

    page: NginxPage
    came: str
    expected: str
    received: bytes = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.came}; expected: {self.expected}"

    def answer(self, now: int) -> bytes:
        """Return what nginx would answer at `now`, in UTC seconds; then it closes."""
        return nginx_answer(self.page, now=now, keep_alive=False)


class _HeadReader:
    """Collects bytes up to an empty line."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._finished = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what the peer sent."""
        self._received += data

    @property
    def received(self) -> bytes:
        """All that has come."""
        return bytes(self._received)

    def _head_size(self) -> int | None:
        """Return the size of the head, None if it is not whole; 0 if it cannot be."""
        end = self._received.find(_END, 0, HEAD_SIZE_MAX)
        if end >= 0:
            return end + len(_END)
        return 0 if len(self._received) >= HEAD_SIZE_MAX else None

    def _pass(self, size: int) -> HeadPassed:
        self._finished = True
        line = bytes(self._received[:size]).partition(b"\r\n")[0]
        return HeadPassed(
            line=line.decode("ascii", "backslashreplace"), trailing=bytes(self._received[size:])
        )


class CamouflageServer(_HeadReader):
    """Reads over the head of a client, if it asks for the right path.

    Args:
        paths: those of `CamouflageRequest`, which need not be percent-encoded.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__()
        self._paths = frozenset(paths)

    def next_event(self) -> HeadPassed | HeadRefused | NeedData:
        """Return what has become of the head, once; `NEED_DATA` before and ever after."""
        if self._finished:
            return NEED_DATA
        if self._received and not _REQUEST_START.match(self._received):
            begin = bytes(self._received[:8])
            return self._refuse(NginxPage.BAD_REQUEST, f"no HTTP ({begin.hex(' ')})")
        size = self._head_size()
        if size is None:
            return NEED_DATA
        if not size:
            return self._refuse(
                NginxPage.HEAD_TOO_LARGE, f"a head of more than {HEAD_SIZE_MAX} bytes"
            )
        line = bytes(self._received[:size]).partition(b"\r\n")[0]
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            return self._refuse(NginxPage.BAD_REQUEST, f"the line {line[:100]!r}")
        target = match[1].decode("utf-8", "replace")
        if target not in self._paths and unquote(target.partition("?")[0]) not in self._paths:
            return self._refuse(NginxPage.NOT_FOUND, f"path {target[:100]}")
        return self._pass(size)

    def _refuse(self, page: NginxPage, came: str) -> HeadRefused:
        self._finished = True
        return HeadRefused(
            page=page,
            came=came,
            expected="path " + " or ".join(sorted(self._paths)),
            received=bytes(self._received),
        )


class CamouflageClient(_HeadReader):
    """Reads over the head of a server, whatever it says."""

    def next_event(self) -> HeadPassed | NeedData:
        """Return that the head has passed, once; `NEED_DATA` before and ever after.

        Raises:
            RemoteProtocolError: there is no end of it.
        """
        if self._finished:
            return NEED_DATA
        size = self._head_size()
        if size is None:
            return NEED_DATA
        if not size:
            self._finished = True
            raise RemoteProtocolError(
                f"no HTTP head within {HEAD_SIZE_MAX} bytes: is the server set to `header: http`?"
            )
        return self._pass(size)


def _pick(texts: Sequence[str], entropy: Entropy) -> str:
    return texts[0] if len(texts) == 1 else texts[entropy.randbelow(len(texts))]


def _pick_headers(
    headers: Headers | None, default: Headers, entropy: Entropy
) -> list[tuple[str, str]]:
    chosen = default.items() if headers is None else sorted(headers.items())
    return [(name, _pick(values, entropy)) for name, values in chosen]


def _encode(line: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [line, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode()


def _require(what: str, pattern: re.Pattern[str], *texts: str) -> None:
    if not texts:
        raise ValueError(f"{what}: there is none to pick from")
    for text in texts:
        if not pattern.fullmatch(text):
            raise ValueError(f"{what}: {text!r} cannot be written in an HTTP head")


def _require_headers(headers: Headers | None) -> None:
    for name, values in (headers or {}).items():
        _require("header", _NAME, name)
        _require(f"header {name}", _TEXT, *values)
