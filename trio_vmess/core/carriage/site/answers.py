"""What a site of files answers, and under which conditions, after nginx 1.22.

It knows no ranges: whoever asks for one gets the whole file, and nobody is told otherwise.
"""

import email.utils
from collections.abc import Mapping
from typing import Final

import attrs

from trio_vmess.core.carriage.nginx import NginxPage, nginx_head
from trio_vmess.core.carriage.upgrade.request import RequestHead

BODY_SIZE_MAX: Final = 1024 * 1024
"""Bytes of a request's body: nginx's `client_max_body_size`."""

FILE_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
"""Those for which nginx looks at files at all."""

_CONDITIONS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
"""nginx takes each of them once."""


@attrs.frozen(kw_only=True)
class FileFacts:
    """What is told about a file.

    Attributes:
        size: bytes.
        modified: UTC seconds.
        content_type: as in `text/html`.
    """

    size: int
    modified: int
    content_type: str

    @property
    def etag(self) -> str:
        """The entity tag, with its quotes."""
        return f'"{self.modified:x}-{self.size:x}"'

    @property
    def last_modified(self) -> str:
        """The time of the last change, as HTTP writes it."""
        return email.utils.formatdate(self.modified, usegmt=True)


@attrs.frozen(kw_only=True)
class Answer:
    """A response, without what depends on the connection.

    Attributes:
        status: the code and its words.
        fields: the header, but for Server, Date and Connection.
        body: what is sent behind it, if that is no file.
        has_file: whether the file that was asked for is sent behind it.
        is_last: whether the connection is closed behind it.
        says_last: whether the client is told so.
    """

    status: str
    fields: Mapping[str, str]
    body: bytes = attrs.field(default=b"", repr=False)
    has_file: bool = False
    is_last: bool = False
    says_last: bool = False

    def encode(self, *, now: int, keep_alive: bool) -> bytes:
        """Write an HTTP/1.1 response, up to a file.

        Args:
            now: UTC seconds, for the Date.
            keep_alive: whether the client may send another request.
        """
        head = nginx_head(
            self.status, self.fields, now=now, keep_alive=keep_alive and not self.says_last
        )
        return head + self.body


def refusal_of(head: RequestHead) -> NginxPage | None:
    """Return the page for a request that nginx refuses, whatever it serves."""
    if any(len(head.values(name)) > 1 for name in _CONDITIONS):
        return NginxPage.BAD_REQUEST
    if head.method == "TRACE":
        return NginxPage.NOT_ALLOWED
    length = head.value("content-length")
    is_large = length.isdecimal() and int(length) > BODY_SIZE_MAX
    return NginxPage.BODY_TOO_LARGE if is_large else None


def answer_page(head: RequestHead, page: NginxPage, *, location: str = "") -> Answer:
    """Answer with one of nginx's pages.

    Args:
        head: the request.
        page: what to say.
        location: where to go instead; empty for nowhere.
    """
    body = page.body(head.value("user-agent"))
    fields = {"Content-Type": "text/html", "Content-Length": str(len(body))}
    if location:
        fields["Location"] = location
    is_last = page in (NginxPage.BODY_TOO_LARGE, NginxPage.BAD_REQUEST, NginxPage.PLAIN_HTTP)
    return Answer(
        status=page.status_line,
        fields=fields,
        body=b"" if head.method == "HEAD" else body,
        # nginx says that it goes on behind a precondition that has failed, and closes all the same.
        is_last=is_last or page is NginxPage.PRECONDITION_FAILED,
        says_last=is_last,
    )


def answer_file(head: RequestHead, facts: FileFacts, *, page: NginxPage | None = None) -> Answer:
    """Answer with a file, or say why it is not sent.

    Args:
        head: the request.
        facts: of the file.
        page: the error page that the file is; None if it is what was asked for.
    """
    has_file = head.method != "HEAD"
    if page is not None:
        fields = {
            "Content-Type": facts.content_type,
            "Content-Length": str(facts.size),
            "ETag": facts.etag,
        }
        return Answer(status=page.status_line, fields=fields, has_file=has_file)
    if head.method == "POST":
        return answer_page(head, NginxPage.NOT_ALLOWED)
    if not _is_wanted(head, facts):
        return answer_page(head, NginxPage.PRECONDITION_FAILED)
    fields = {"Last-Modified": facts.last_modified, "ETag": facts.etag}
    if _is_known(head, facts):
        return Answer(status="304 Not Modified", fields=fields)
    fields = {
        "Content-Type": facts.content_type,
        "Content-Length": str(facts.size),
        **fields,
    }
    return Answer(status="200 OK", fields=fields, has_file=has_file)


def _is_wanted(head: RequestHead, facts: FileFacts) -> bool:
    """Test If-Unmodified-Since and If-Match."""
    if since := head.value("if-unmodified-since"):
        time = _parse_date(since)
        if time is None or time < facts.modified:
            return False
    tags = head.value("if-match")
    return not tags or _names(tags, facts.etag, is_weak=False)


def _is_known(head: RequestHead, facts: FileFacts) -> bool:
    """Test If-Modified-Since, which has to be the very time, and If-None-Match."""
    since, tags = head.value("if-modified-since"), head.value("if-none-match")
    if since and _parse_date(since) != facts.modified:
        return False
    if tags and not _names(tags, facts.etag, is_weak=True):
        return False
    return bool(since or tags)


def _names(tags: str, etag: str, *, is_weak: bool) -> bool:
    if tags == "*":
        return True
    found = (each.strip() for each in tags.split(","))
    return any((each.removeprefix("W/") if is_weak else each) == etag for each in found)


def _parse_date(text: str) -> int | None:
    """Return UTC seconds, or None: any of the three forms of RFC 9110 section 5.6.7."""
    parts = email.utils.parsedate_tz(text)
    if parts is None:
        return None
    try:
        return int(email.utils.mktime_tz(parts))
    except (ValueError, OverflowError):
        return None
