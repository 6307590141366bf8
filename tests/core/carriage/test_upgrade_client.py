"""How a tunnel is asked for, and what is made of the answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.carriage.heads import ACCEPT, KEY, hear, upgrade
from tests.kit.entropy import SeededEntropy
from tests.kit.scripted_entropy import ScriptedEntropy
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import NEED_DATA
from trio_vmess.core.carriage.upgrade import (
    NotSwitched,
    Switched,
    UpgradeClient,
    UpgradeKind,
    UpgradeRequest,
    split_early_data_size,
)
from trio_vmess.core.carriage.upgrade.early_data import decode_early_data
from trio_vmess.errors import RemoteProtocolError

NONCE = b"the sample nonce"
SWITCHED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


def client_of(early_data: bytes = b"", **request: Any) -> UpgradeClient:
    return UpgradeClient(
        UpgradeRequest(**{"host": "node.example", "path": "/tunnel", **request}),
        entropy=ScriptedEntropy([NONCE]),
        early_data=early_data,
    )


def lines_of(early_data: bytes = b"", **request: Any) -> list[str]:
    head = client_of(early_data, **request).data_to_send().decode()
    assert head.endswith("\r\n\r\n")
    return head.split("\r\n")[:-2]


# The request --------------------------------------------------------------------------------------


@for_each([each for each in load("transport_ws") if each["client"].startswith("V2Ray")])
def test_the_request_is_that_of_v2ray(capture: dict[str, Any]) -> None:
    key = dict(capture["request"]["headers"])["Sec-WebSocket-Key"]
    nonce = decode_early_data(key)
    assert nonce is not None
    client = UpgradeClient(
        UpgradeRequest(host=capture["host"], path=capture["path"]),
        entropy=ScriptedEntropy([nonce]),
    )
    assert client.data_to_send() == unpack(capture["request"]["bytes"])
    assert client.data_to_send() == b""


@for_each([each for each in load("transport_httpupgrade") if each["client"].startswith("sing-box")])
def test_the_request_to_upgrade_is_that_of_sing_box(capture: dict[str, Any]) -> None:
    request = UpgradeRequest(
        kind=UpgradeKind.HTTP_UPGRADE, host=capture["host"], path=capture["path"]
    )
    client = UpgradeClient(request, entropy=ScriptedEntropy())
    assert client.data_to_send() == unpack(capture["request"]["bytes"])


def test_headers_of_the_settings_replace_ours_but_none_that_matter() -> None:
    headers = {
        "user-agent": "curl/8",
        "HOST": "front.example",
        "Zone": "z",
        "Accept": "*/*",
        "Upgrade": "h2c",
        "sec-websocket-key": "x",
        "Transfer-Encoding": "chunked",
    }
    assert lines_of(headers=headers) == [
        "GET /tunnel HTTP/1.1",
        "Host: front.example",
        "user-agent: curl/8",
        "Accept: */*",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
        "Zone: z",
    ]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("a", "/a"),
        ("/a?b=c&d", "/a?b=c&d"),
        ("/tür", "/t%C3%BCr"),
        ("/a%20b c", "/a%20b%20c"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
    ],
)
def test_a_path_is_written_as_a_target(path: str, target: str) -> None:
    assert lines_of(path=path)[0] == f"GET {target} HTTP/1.1"


def test_early_data_goes_where_it_is_told() -> None:
    assert lines_of(b"\xff\xfe", early_data_header="")[0] == "GET /tunnel__4 HTTP/1.1"
    assert "Sec-WebSocket-Protocol: __4" in lines_of(
        b"\xff\xfe", early_data_header="Sec-WebSocket-Protocol"
    )
    assert "X-More: __4=" in lines_of(
        b"\xff\xfe", early_data_header="X-More", kind=UpgradeKind.HTTP_UPGRADE
    )
    with pytest.raises(ValueError, match="no place"):
        client_of(b"early")


@pytest.mark.parametrize("request_", [{"headers": {"X": "a\r\nb"}}, {"host": "a\nb"}])
def test_a_header_that_cannot_be_written_is_a_mistake(request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be requested"):
        client_of(**request_)


@given(st.binary(max_size=3000), st.sampled_from(["Sec-WebSocket-Protocol", "X-More", ""]))
def test_what_we_ask_for_we_also_serve(early_data: bytes, name: str) -> None:
    for kind in UpgradeKind:
        request = UpgradeRequest(
            kind=kind, host="node.example", path="/tür", early_data_header=name
        )
        client = UpgradeClient(request, entropy=SeededEntropy(), early_data=early_data)
        rules = {"kind": kind, "path": "/t%C3%BCr", "early_data_header": name}
        found = upgrade(client.data_to_send() + b"more", **rules)
        assert (found.early_data, found.trailing) == (early_data, b"more")
        assert hear(client, found.answer) == Switched()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/p", ("/p", 0)),
        ("/p?ed=2048", ("/p", 2048)),
        ("/p?a=b&ed=1&c", ("/p?a=b&c", 1)),
        ("/p?a=b", ("/p?a=b", 0)),
        ("?ed=0", ("", 0)),
    ],
)
def test_xrays_way_to_set_early_data_is_taken_out_of_the_path(
    path: str, expected: tuple[str, int]
) -> None:
    assert split_early_data_size(path) == expected


@pytest.mark.parametrize("path", ["/p?ed=", "/p?ed", "/p?ed=-1", "/p?ed=2k", "/p?ed=٣"])
def test_a_size_that_is_no_number_is_a_mistake(path: str) -> None:
    with pytest.raises(ValueError, match="must be a number of bytes"):
        split_early_data_size(path)


# The answer ---------------------------------------------------------------------------------------


@for_each(load("transport_ws"))
def test_the_answers_of_all_servers_are_taken(capture: dict[str, Any]) -> None:
    nonce = decode_early_data(dict(capture["request"]["headers"])["Sec-WebSocket-Key"])
    assert nonce is not None
    wire = unpack(capture["server_to_client"])
    head_size = len(unpack(capture["response"]["bytes"]))
    for step in (1, head_size - 1, head_size + 1, len(wire)):
        client = UpgradeClient(UpgradeRequest(host="x"), entropy=ScriptedEntropy([nonce]))
        assert hear(client, wire[: head_size + 100], step=step) == Switched()
        assert client.trailing_data == wire[head_size : head_size + 100]
        assert client.next_event() is NEED_DATA


@for_each(load("transport_httpupgrade"))
def test_the_answers_to_an_upgrade_are_taken(capture: dict[str, Any]) -> None:
    wire = unpack(capture["server_to_client"])
    client = client_of(kind=UpgradeKind.HTTP_UPGRADE)
    assert hear(client, wire) == Switched()
    assert client.trailing_data == wire[len(unpack(capture["response"]["bytes"])) :]


def test_a_hint_before_the_answer_is_skipped() -> None:
    assert hear(client_of(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SWITCHED)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("404 Not Found", "404 Not Found: path or Host is not what the server expects"),
        ("502 Bad Gateway", "502 Bad Gateway: the web server in front does not reach"),
        ("400 Bad Request", "400 Bad Request: is TLS set on both ends or on neither"),
        ("301 Moved\r\nLocation: https://x/y", "301 Moved: it sends us on to 'https://x/y'"),
        ("200 OK", "200 OK: this is a web page"),
        ("418 ", "418"),
    ],
)
def test_another_answer_says_what_to_look_at(answer: str, said: str) -> None:
    event = hear(client_of(), f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode(), step=1)
    assert isinstance(event, NotSwitched)
    assert str(event).startswith(f"the server answered {said}")


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (SWITCHED.replace(b"s3pP", b"S3pP"), "Sec-WebSocket-Accept does not fit"),
        (SWITCHED.replace(b"Sec-WebSocket-Accept", b"X"), "Sec-WebSocket-Accept does not fit"),
        (SWITCHED.replace(b"websocket", b"h2c"), "does not switch to websocket"),
        (SWITCHED.replace(b"Connection", b"X"), "no header Connection"),
        (SWITCHED[:-2] + b"Sec-WebSocket-Extensions: x\r\n\r\n", "an extension that nobody"),
        (b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n", "the server speaks TLS"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\n\n", "where it is HTTP/2, offer http/1.1 alone"),
        (b"HTTP/1.1 abc\r\n\r\n", "answer is malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, "answer is malformed"),
    ],
)
def test_what_is_no_answer_is_explained(wire: bytes, said: str) -> None:
    client = client_of()
    client.receive_data(wire)
    with pytest.raises(RemoteProtocolError, match=said):
        client.next_event()
    assert client.next_event() is NEED_DATA


@pytest.mark.parametrize("size", [0, 10, len(SWITCHED) - 1])
def test_a_server_that_closes_is_told_from_one_that_answers(size: int) -> None:
    client = client_of()
    if size:
        client.receive_data(SWITCHED[:size])
    assert client.next_event() is NEED_DATA
    client.receive_data(b"")
    with pytest.raises(RemoteProtocolError, match="malformed" if size else "without an answer"):
        client.next_event()
