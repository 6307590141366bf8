"""Answers that look like nginx's, byte by byte: what a scanner is told.

The bare 404 of a Go program is what gives V2Ray's servers away. This is what nginx 1.22 answers
with `server_tokens off`, and other versions likewise.
"""

import email.utils
import enum
from typing import Final, NamedTuple

_PADDING: Final = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6
"""Some browsers show a page of their own in place of a short one, so nginx makes theirs longer."""


class _Words(NamedTuple):
    status: str
    note: str = ""


class NginxPage(enum.Enum):
    """What nginx has to say."""

    BAD_REQUEST = _Words("400 Bad Request")
    HEAD_TOO_LARGE = _Words("400 Bad Request", "Request Header Or Cookie Too Large")
    PLAIN_HTTP = _Words("400 Bad Request", "The plain HTTP request was sent to HTTPS port")
    NOT_FOUND = _Words("404 Not Found")
    NOT_ALLOWED = _Words("405 Not Allowed")
    VERSION = _Words("505 HTTP Version Not Supported")

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.value.status[:3])


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
    status, note = page.value
    title = f"{status[:3]} {note}" if note else status
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status}</h1></center>\r\n"
        + (f"<center>{note}</center>\r\n" if note else "")
        + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        + (_PADDING if _wants_padding(user_agent) else "")
    )
    head = (
        f"HTTP/1.1 {status}\r\n"
        "Server: nginx\r\n"
        f"Date: {email.utils.formatdate(now, usegmt=True)}\r\n"
        "Content-Type: text/html\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return (head + body if with_body else head).encode("ascii")


def _wants_padding(user_agent: str) -> bool:
    """Tell whether nginx takes this for Internet Explorer or Chrome."""
    if "Opera" in user_agent:
        return False
    return "MSIE " in user_agent or ("Chrome/" in user_agent and "Gecko/" not in user_agent)
