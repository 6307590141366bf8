"""Who gets a tunnel: all peers' requests, early data wherever it is, and every reason against."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.carriage.heads import ACCEPT, KEY, judge, refuse, request, upgrade
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import NEED_DATA
from trio_vmess.core.carriage import NginxPage
from trio_vmess.core.carriage.upgrade import (
    Refused,
    Upgraded,
    UpgradeKind,
    UpgradeRules,
    UpgradeServer,
    encode_early_data,
)
from trio_vmess.core.carriage.upgrade.request import HEAD_SIZE_MAX

HTTP_UPGRADE = {"kind": UpgradeKind.HTTP_UPGRADE}

SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
)

# Recordings ---------------------------------------------------------------------------------------


@for_each(load("transport_ws"))
def test_the_websockets_of_all_peers_are_served(capture: dict[str, Any]) -> None:
    wire = unpack(capture["client_to_server"])
    early = capture.get("early_data", {})
    name = "" if early.get("where") == "path" else "Sec-WebSocket-Protocol"
    found = upgrade(wire, path=capture["path"], host=capture["host"], early_data_header=name)
    assert found.early_data == unpack(early.get("data", ""))
    assert found.trailing == wire[len(unpack(capture["request"]["bytes"])) :]
    assert found.head.value("host") == capture["host"]
    # sing-box takes early data without a word; the others name the header.
    if early and capture["server"].startswith("sing-box"):
        assert found.answer.startswith(unpack(capture["response"]["bytes"])[:-2])
    else:
        assert found.answer == unpack(capture["response"]["bytes"])


@for_each(load("transport_httpupgrade"))
def test_the_http_upgrades_of_all_peers_are_served(capture: dict[str, Any]) -> None:
    wire = unpack(capture["client_to_server"])
    found = upgrade(wire, path=capture["path"], host=capture["host"], **HTTP_UPGRADE)
    assert found.early_data == b""
    assert found.trailing == wire[len(unpack(capture["request"]["bytes"])) :]
    written = sorted(found.answer.decode().lower().split("\r\n"))
    recorded = unpack(capture["response"]["bytes"]).decode().lower().split("\r\n")
    assert written == sorted(line for line in recorded if not line.startswith("date:"))


@given(st.integers(1, 200), st.binary(max_size=20))
def test_how_a_request_is_split_changes_nothing(step: int, rest: bytes) -> None:
    wire = request(sec_websocket_protocol=encode_early_data(b"early")) + rest
    found = judge(wire, step=step)
    assert isinstance(found, Upgraded)
    assert (found.early_data, found.answer) == (b"early", upgrade(wire).answer)
    assert rest.startswith(found.trailing)


def test_no_beginning_of_a_request_is_refused() -> None:
    wire = b"\r\n" + request()
    for size in range(len(wire)):
        server = UpgradeServer(UpgradeRules(path="/tunnel"))
        server.receive_data(wire[:size])
        assert server.next_event() is NEED_DATA
        server.receive_data(wire[size:])
        assert isinstance(server.next_event(), Upgraded)


# What is served -----------------------------------------------------------------------------------


def test_the_answer_is_that_of_the_rfc() -> None:
    assert upgrade(request()).answer == SWITCHED


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "/tunnel?x=1"},
        {"target": "/%74unnel"},
        {"version": "1.0"},
        {"connection": "keep-alive, Upgrade"},
        {"connection": "upgrade", "upgrade": "WebSocket"},
        {"host": "NODE.example:8443"},
        {"sec_websocket_extensions": "permessage-deflate"},
        {"sec_websocket_protocol": "chat, superchat"},
        {"content_length": "5"},
    ],
)
def test_what_differs_in_no_matter_is_served(changes: dict[str, str]) -> None:
    assert upgrade(request(**changes), host="node.example").answer == SWITCHED


def test_a_path_may_have_letters_of_any_language() -> None:
    assert upgrade(request("/t%C3%BCr"), path="/tür")
    assert upgrade(request("/t%C3%BCr"), path="t%c3%bcr")


def test_a_query_in_our_own_path_is_for_clients() -> None:
    assert upgrade(request(), path="/tunnel?ed=2048")


@pytest.mark.parametrize("text", ["AP-_", "AP+/", "_w", "_w=="])
def test_early_data_comes_in_both_alphabets_and_with_padding(text: str) -> None:
    found = upgrade(request(sec_websocket_protocol=text))
    assert found.early_data in (b"\x00\xff\xbf", b"\xff")
    assert b"\r\nSec-WebSocket-Protocol: " + text.encode() + b"\r\n" in found.answer


def test_early_data_in_another_header_is_not_named_in_the_answer() -> None:
    wire = request(x_more=encode_early_data(b"early"), sec_websocket_protocol="AAAA")
    found = upgrade(wire, early_data_header="X-More")
    assert (found.early_data, found.answer) == (b"early", SWITCHED)


def test_early_data_that_nobody_waits_for_is_a_header_like_any_other() -> None:
    found = upgrade(request(sec_websocket_protocol="AAAA"), early_data_header=None)
    assert (found.early_data, found.answer) == (b"", SWITCHED)


def test_early_data_may_be_behind_the_path() -> None:
    text = encode_early_data(bytes(range(200)))
    assert upgrade(request("/tunnel" + text), early_data_header="").early_data == bytes(range(200))
    assert upgrade(request("/tunnel"), early_data_header="").early_data == b""
    refused = refuse(request("/tunnel?ed=1"), early_data_header="")
    assert str(refused) == "path /tunnel?ed=1; expected: path /tunnel and early data in base64"


def test_http_upgrade_wants_no_key_and_any_method() -> None:
    wire = request(without=["sec-websocket-key", "sec-websocket-version"], method="POST")
    answer = upgrade(wire + b"stream", **HTTP_UPGRADE).answer
    assert answer == SWITCHED.partition(b"Sec-")[0] + b"\r\n"
    assert upgrade(wire + b"stream", **HTTP_UPGRADE).trailing == b"stream"


def test_http_upgrade_answers_a_key_where_there_is_one() -> None:
    assert upgrade(request(), **HTTP_UPGRADE).answer == SWITCHED


# What is refused, and what the log says -----------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (request("/tunnel/"), "path /tunnel/; expected: path /tunnel"),
        (request("/"), "path /; expected: path /tunnel"),
        (request("/Tunnel"), "path /Tunnel; expected: path /tunnel"),
        (request(host="other.example"), "Host other.example; expected: Host node.example"),
        (request(without=["upgrade"]), "no header Upgrade: websocket (does the proxy in front"),
        (request(upgrade="h2c"), "no header Upgrade: websocket"),
        (request(connection="keep-alive"), "no header Connection: Upgrade (does the proxy"),
        (request(method="POST"), "the method POST; expected: GET"),
        (request(sec_websocket_version="12"), "WebSocket version 12; expected: version 13"),
        (request(without=["sec-websocket-version"]), "WebSocket version none"),
        (request(without=["sec-websocket-key"]), "no header Sec-WebSocket-Key (is the client set"),
        (request(sec_websocket_key="AAAA"), "a Sec-WebSocket-Key that is not 16 bytes in base64"),
        (request(sec_websocket_key="\xff"), "a Sec-WebSocket-Key that is not 16 bytes in base64"),
    ],
)
def test_a_request_that_does_not_fit_is_explained(wire: bytes, said: str) -> None:
    for step in (1, len(wire)):
        refused = refuse(wire, host="node.example", step=step)
        assert str(refused).startswith(said)
        assert refused.page is NginxPage.NOT_FOUND
        assert refused.keep_alive
        assert refused.received == wire
    server = UpgradeServer(UpgradeRules(path="/tunnel", host="node.example"))
    server.receive_data(wire)
    server.next_event()
    server.receive_data(request())
    assert isinstance(server.next_event(), Upgraded)


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (b"\x16\x03\x01\x00", "a TLS client on a plain port"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21", "a PROXY protocol header"),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n\r\n", "a PROXY protocol header"),
        (b"\x01\x02garbage", "bytes that are no HTTP (01 02 67 61 72 62 61 67)"),
        (request(without=["host"]), "a malformed request: Missing mandatory Host"),
        (request("*"), "a request of '*'"),
        (request(version="2.0"), "HTTP/2.0"),
        (request(x="a" * HEAD_SIZE_MAX), "a request head of more than 32768 bytes"),
        (b"GET /" + b"a" * HEAD_SIZE_MAX, "a request head of more than 32768 bytes"),
    ],
)
def test_what_is_no_request_ends_the_conversation(wire: bytes, said: str) -> None:
    refused = refuse(wire)
    assert str(refused).startswith(said)
    assert not refused.keep_alive
    assert refused.received == wire
    assert refused.head is None
    server = UpgradeServer(UpgradeRules(path="/tunnel"))
    server.receive_data(wire)
    assert isinstance(server.next_event(), Refused)
    assert server.next_event() is NEED_DATA


def test_a_malformed_body_ends_the_conversation() -> None:
    server = UpgradeServer(UpgradeRules(path="/tunnel"))
    server.receive_data(request("/", transfer_encoding="chunked") + b"nonsense\r\n")
    first = server.next_event()
    assert isinstance(first, Refused)
    assert first.keep_alive
    second = server.next_event()
    assert isinstance(second, Refused)
    assert str(second).startswith("a malformed body")
    assert not second.keep_alive


@pytest.mark.parametrize("framing", ["content_length", "transfer_encoding"])
def test_the_body_of_a_refused_request_is_dropped_as_it_comes(framing: str) -> None:
    server = UpgradeServer(UpgradeRules(path="/tunnel"))
    value, body = ("5", b"hello") if framing == "content_length" else ("chunked", b"0\r\n\r\n")
    server.receive_data(request("/", method="POST", **{framing: value}))
    assert isinstance(server.next_event(), Refused)
    for position in range(5):
        assert server.next_event() is NEED_DATA
        server.receive_data(body[position : position + 1])
    assert server.next_event() is NEED_DATA
    server.receive_data(request() + b"stream")
    found = server.next_event()
    assert isinstance(found, Upgraded)
    assert found.trailing == b"stream"


def test_the_key_of_the_example_is_one() -> None:
    assert KEY.encode() in request()


# Judging early ----------------------------------------------------------------------------------


def beginnings(path: str, *, header: str | None = "X") -> UpgradeServer:
    rules = UpgradeRules(path=path, early_data_header=header)
    return UpgradeServer(rules, judges_early=True)


@pytest.mark.parametrize(
    ("path", "header", "begin"),
    [
        ("/tunnel", "X", b"GET /x"),
        ("/tunnel", "X", b"GET / "),
        ("/tunnel", "X", b"GET /?"),
        ("/tunnel", "X", b"\r\nPOST /tunnels"),
        ("/tunnel", "X", b"GET /tunnel/"),
        ("/tunnel", "X", b"GET /tun "),
        ("/t%C3%A9", "X", b"GET /tx"),
        ("/tunnel", "", b"GET /tunx"),
        ("/tunnel", "", b"GET /tun "),
        ("/tunnel", "X", b"\x01"),
    ],
)
def test_another_path_is_refused_before_the_head_is_whole(
    path: str, header: str | None, begin: bytes
) -> None:
    server = beginnings(path, header=header)
    for number in range(len(begin) - 1):
        server.receive_data(begin[number : number + 1])
        assert server.next_event() is NEED_DATA
    server.receive_data(begin[-1:])
    event = server.next_event()
    assert isinstance(event, Refused)
    assert event.received == server.received == begin


@pytest.mark.parametrize(
    ("path", "header", "begin"),
    [
        ("/tunnel", "X", b"GET /tunnel HTTP/1.1\r\nHost: a"),
        ("/tunnel", "X", b"GET /tunnel?x=1 HTTP/1.1\r\n"),
        ("/tunnel", "X", b"GET /tunn%65l HTTP/1.1\r\n"),
        ("/t%C3%A9", "X", b"GET /t%c3%a9 HTTP/1.1\r\n"),
        ("/tunnel?ed=1", "X", b"GET /tunnel HTTP/1.1\r\n"),
        ("/tunnel", "", b"GET /tunnelAAAA HTTP/1.1\r\n"),
        ("/tunnel", "X", b"GET http://a/tunnel"),
        ("/", "X", b"GET / HTTP/1.1\r\nHost"),
    ],
)
def test_the_tunnels_path_is_waited_for(path: str, header: str | None, begin: bytes) -> None:
    server = beginnings(path, header=header)
    for number in range(len(begin)):
        server.receive_data(begin[number : number + 1])
        assert server.next_event() is NEED_DATA
