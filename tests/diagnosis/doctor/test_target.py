"""What people may write for a target, and the request that is made of it."""

import pytest

from trio_vmess.diagnosis.doctor import read_target


@pytest.mark.parametrize(
    ("text", "destination", "begin"),
    [
        ("http://a.example/x?y=1#z", "a.example:80", "GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\n"),
        ("http://a.example", "a.example:80", "GET / HTTP/1.1\r\nHost: a.example\r\n"),
        ("a.example:8080", "a.example:8080", "GET / HTTP/1.1\r\nHost: a.example:8080\r\n"),
        ("http://[::1]:81/", "[::1]:81", "GET / HTTP/1.1\r\nHost: [::1]:81\r\n"),
        ("127.0.0.1:80", "127.0.0.1:80", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
    ],
)
def test_a_target_is_a_request(text: str, destination: str, begin: str) -> None:
    target = read_target(text)
    assert str(target) == destination
    assert target.request.startswith(begin.encode())
    assert target.request.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example/",
        "a.example",
        "a.example:0",
        "http://",
        "http:///x",
        "http://a b/",
        "http://me@a.example/",
    ],
)
def test_what_cannot_be_requested_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a\.example|http|target"):
        read_target(text)
