"""Refusals against recordings of nginx, byte by byte."""

import email.utils
import re
from typing import Any

import pytest

from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core.carriage import NginxPage, nginx_answer
from trio_vmess.core.carriage.upgrade import (
    Refused,
    UpgradeRules,
    UpgradeServer,
)


def conversation(wire: bytes, now: int, step: int) -> tuple[str, str]:
    """Answer all requests of a wire; return what was said, and how it ended."""
    server, said, end = UpgradeServer(UpgradeRules(path="/tunnel")), b"", "open"
    for start in range(0, len(wire), step):
        server.receive_data(wire[start : start + step])
        while isinstance(event := server.next_event(), Refused):
            said += event.answer(now)
            end = "open" if event.keep_alive else "closed"
    return said.decode("latin-1"), end


@for_each(load("nginx_answers"))
def test_the_answers_are_those_of_nginx(vector: dict[str, Any]) -> None:
    date = re.search("Date: (.*)\r\n", vector["response"])
    assert date is not None
    now = int(email.utils.parsedate_to_datetime(date[1]).timestamp())
    wire = unpack(vector["request"])
    for step in (1, 10, len(wire)) if len(wire) < 1000 else (1000, len(wire)):
        assert conversation(wire, now, step) == (vector["response"], vector["end"])


def test_plain_http_on_a_tls_port_has_a_page_of_its_own() -> None:
    text = nginx_answer(NginxPage.PLAIN_HTTP, now=0, keep_alive=False).decode()
    head, _, body = text.partition("\r\n\r\n")
    assert head.split("\r\n") == [
        "HTTP/1.1 400 Bad Request",
        "Server: nginx",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Type: text/html",
        "Content-Length: 248",
        "Connection: close",
    ]
    assert len(body) == 248
    assert "<title>400 The plain HTTP request was sent to HTTPS port</title>" in body


@pytest.mark.parametrize("page", NginxPage)
def test_every_page_knows_its_status(page: NginxPage) -> None:
    assert nginx_answer(page, now=0).startswith(b"HTTP/1.1 %d " % page.status)
