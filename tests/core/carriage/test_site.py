"""What a request's target names, and what is answered about a file."""

import pytest

from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.site import (
    FileFacts,
    Target,
    answer_file,
    answer_page,
    parse_target,
    refusal_of,
)
from trio_vmess.core.carriage.upgrade import RequestHead

FACTS = FileFacts(size=6, modified=1_767_323_045, content_type="text/plain")


def head(method: str = "GET", **headers: str) -> RequestHead:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RequestHead(method=method, target="/", version="1.1", headers=fields)


@pytest.mark.parametrize(
    ("text", "segments", "is_folder"),
    [
        ("/", (), True),
        ("/a", ("a",), False),
        ("/a/", ("a",), True),
        ("//a///b", ("a", "b"), False),
        ("/a/./b", ("a", "b"), False),
        ("/a/.", ("a",), True),
        ("/a/b/..", ("a",), True),
        ("/a%2Fb", ("a", "b"), False),
        ("/%61%2e%2E/b", ("a..", "b"), False),
        ("/%252e", ("%2e",), False),
        ("/a?b/c", ("a",), False),
        ("/a#b", ("a",), False),
        ("http://h/a", ("a",), False),
        ("http://h", (), True),
        ("/%ff", ("\udcff",), False),
    ],
)
def test_the_path_of_a_target(text: str, segments: tuple[str, ...], is_folder: bool) -> None:
    target = parse_target(text)
    assert (target.segments, target.is_folder) == (segments, is_folder)


@pytest.mark.parametrize(
    "text",
    [
        "/..",
        "/../a",
        "/a/../..",
        "/%2e%2e/a",
        "/a/%2e%2e%2f..",
        "/%00",
        "/a%",
        "/%zz",
        "http://h/..",
    ],
)
def test_a_path_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"path|percent"):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "is_hidden"),
    [
        ("/.git/x", True),
        ("/a/.b", True),
        ("/%2egit", True),
        ("/.well-known/x", False),
        ("/a.", False),
    ],
)
def test_hidden_names(text: str, is_hidden: bool) -> None:
    assert parse_target(text).is_hidden is is_hidden


def test_a_redirection_never_leads_to_another_host() -> None:
    assert parse_target("//evil.example").as_folder == "/evil.example/"
    assert parse_target("/%2fevil.example?a").as_folder == "/evil.example/?a"
    assert Target(segments=("\\evil", "\udcff"), is_folder=False).as_folder == "/%5Cevil/%FF/"


def test_a_head_has_no_body() -> None:
    assert not answer_file(head("HEAD"), FACTS).has_file
    assert answer_file(head("GET"), FACTS).has_file
    assert answer_page(head("HEAD"), NginxPage.NOT_FOUND).body == b""


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "Friday, 02-Jan-26 03:04:05 GMT",
        "Fri Jan  2 03:04:05 2026",
    ],
)
def test_every_form_of_a_date_is_read(date: str) -> None:
    assert answer_file(head(if_modified_since=date), FACTS).status == "304 Not Modified"


@pytest.mark.parametrize("date", ["", "x", "99999999999999999999", "Fri, 99 Jan 2026 03:04:05 GMT"])
def test_what_is_no_date_changes_nothing(date: str) -> None:
    assert answer_file(head(if_modified_since=date), FACTS).status == "200 OK"


def test_a_body_that_is_too_large_is_not_waited_for() -> None:
    large = head("POST", content_length=str(1 << 21))
    assert refusal_of(large) is NginxPage.BODY_TOO_LARGE
    assert answer_page(large, NginxPage.BODY_TOO_LARGE).is_last
    assert refusal_of(head("POST", content_length=str(1 << 20))) is None
