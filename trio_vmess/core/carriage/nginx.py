"""Answers that look like nginx's, byte by byte: what a scanner is told.

The bare 404 of a Go program is what gives V2Ray's servers away. This is what nginx 1.22 answers
with `server_tokens off`, and other versions likewise.
"""

import email.utils
import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

_PADDING: Final = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6
"""Some browsers show a page of their own in place of a short one, so nginx makes theirs longer."""

_ERROR_MIN: Final = 400
"""Redirections are not made longer."""

_BEFORE_CONNECTION: Final = ("Content-Type", "Content-Length", "Last-Modified")


_SERVED_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
"""nginx's static files know no others."""


class _Words(NamedTuple):
    status: str
    note: str = ""


class NginxPage(enum.Enum):
    """What nginx has to say."""

    MOVED = _Words("301 Moved Permanently")
    BAD_REQUEST = _Words("400 Bad Request")
    HEAD_TOO_LARGE = _Words("400 Bad Request", "Request Header Or Cookie Too Large")
    PLAIN_HTTP = _Words("400 Bad Request", "The plain HTTP request was sent to HTTPS port")
    FORBIDDEN = _Words("403 Forbidden")
    NOT_FOUND = _Words("404 Not Found")
    NOT_ALLOWED = _Words("405 Not Allowed")
    PRECONDITION_FAILED = _Words("412 Precondition Failed")
    BODY_TOO_LARGE = _Words("413 Request Entity Too Large")
    TARGET_TOO_LARGE = _Words("414 Request-URI Too Large")
    SERVER_ERROR = _Words("500 Internal Server Error")
    BAD_GATEWAY = _Words("502 Bad Gateway")
    GATEWAY_TIMEOUT = _Words("504 Gateway Time-out")
    VERSION = _Words("505 HTTP Version Not Supported")

    @classmethod
    def where_nothing_is(cls, method: str) -> "NginxPage":
        """Return the page for a request to where there is nothing to serve."""
        return cls.NOT_FOUND if method in _SERVED_METHODS else cls.NOT_ALLOWED

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.value.status[:3])

    @property
    def status_line(self) -> str:
        """The status code and its words."""
        return self.value.status

    def body(self, user_agent: str = "") -> bytes:
        """Return the page.

        Args:
            user_agent: the client's; it decides about the length.
        """
        status, note = self.value
        title = f"{status[:3]} {note}" if note else status
        text = (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
            f"<center><h1>{status}</h1></center>\r\n"
            + (f"<center>{note}</center>\r\n" if note else "")
            + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
            + (_PADDING if self.status >= _ERROR_MIN and _wants_padding(user_agent) else "")
        )
        return text.encode("ascii")


def nginx_head(
    status: str, fields: Mapping[str, str], *, now: int, keep_alive: bool = True
) -> bytes:
    """Return the head of a response, with its fields in nginx's order.

    Args:
        status: the code and its words.
        fields: names and values, all but Server, Date and Connection.
        now: UTC seconds, for the Date.
        keep_alive: whether another request is read.
    """
    lines = [
        f"HTTP/1.1 {status}",
        "Server: nginx",
        f"Date: {email.utils.formatdate(now, usegmt=True)}",
        *(f"{name}: {fields[name]}" for name in _BEFORE_CONNECTION if name in fields),
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {text}" for name, text in fields.items() if name not in _BEFORE_CONNECTION),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def nginx_answer(
    page: NginxPage,
    *,
    now: int,
    keep_alive: bool = True,
    with_body: bool = True,
    user_agent: str = "",
) -> bytes:
    """Return a whole response.

    Args:
        page: what to say.
        now: UTC seconds, for the Date.
        keep_alive: whether another request is read.
        with_body: False for the answer to HEAD.
        user_agent: the client's; it decides about the length of the page.
    """
    body = page.body(user_agent)
    fields = {"Content-Type": "text/html", "Content-Length": str(len(body))}
    head = nginx_head(page.status_line, fields, now=now, keep_alive=keep_alive)
    return head + body if with_body else head


def _wants_padding(user_agent: str) -> bool:
    """Tell whether nginx takes this for Internet Explorer or Chrome."""
    if "Opera" in user_agent:
        return False
    return "MSIE " in user_agent or ("Chrome/" in user_agent and "Gecko/" not in user_agent)
