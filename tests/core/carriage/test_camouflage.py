"""HTTP heads in front of plain TCP: as V2Ray writes them, and as they are read over."""

import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.entropy import SeededEntropy
from tests.kit.scripted_entropy import ScriptedEntropy
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core import NEED_DATA
from trio_vmess.core.carriage import (
    CamouflageClient,
    CamouflageRequest,
    CamouflageResponse,
    CamouflageServer,
    HeadPassed,
    HeadRefused,
    NginxPage,
)
from trio_vmess.core.carriage.camouflage import (
    HEAD_SIZE_MAX,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    Headers,
)
from trio_vmess.errors import RemoteProtocolError

CAPTURES = load("transport_tcp_http")
NOW = 1_700_000_000


def feed(
    reader: CamouflageServer | CamouflageClient, wire: bytes, *, step: int = 1 << 20
) -> HeadPassed | HeadRefused:
    for start in range(0, len(wire), step):
        reader.receive_data(wire[start : start + step])
        event = reader.next_event()
        if event is not NEED_DATA:
            assert reader.next_event() is NEED_DATA
            return event
    raise AssertionError("no head")


def choices(head: dict[str, Any], defaults: Headers) -> list[int]:
    """Return what must be drawn to get the very head that was recorded."""
    values = dict(head["headers"])
    return [found.index(values[name]) for name, found in defaults.items() if len(found) > 1]


# Recordings --------------------------------------------------------------------------------------


@for_each([each for each in CAPTURES if each["server"].startswith("V2Ray")])
def test_the_answer_is_that_of_v2ray(capture: dict[str, Any]) -> None:
    recorded = capture["response"]
    date = dict(recorded["headers"])["Date"]
    entropy = ScriptedEntropy(numbers=choices(recorded, RESPONSE_HEADERS))
    head = CamouflageResponse().encode(
        entropy, int(email.utils.parsedate_to_datetime(date).timestamp())
    )
    assert head == unpack(recorded["bytes"])


@for_each([each for each in CAPTURES if each["client"].startswith("V2Ray")])
def test_the_request_is_that_of_v2ray(capture: dict[str, Any]) -> None:
    recorded = capture["request"]
    if capture["host"] is None:
        entropy = ScriptedEntropy(numbers=choices(recorded, REQUEST_HEADERS))
        head = CamouflageRequest().encode(entropy)
    else:
        head = CamouflageRequest(headers={"Host": ("node.example",)}).encode(ScriptedEntropy())
    assert head == unpack(recorded["bytes"])


@for_each(CAPTURES)
def test_the_heads_of_all_peers_are_read_over(capture: dict[str, Any]) -> None:
    for kind, name in (("request", "client"), ("response", "server")):
        size, line = len(unpack(capture[kind]["bytes"])), capture[kind]["line"]
        other = "server" if name == "client" else "client"
        wire = unpack(capture[f"{name}_to_{other}"])
        for step in (1, size - 1, size + 1, len(wire)):
            reader = CamouflageServer(["/"]) if name == "client" else CamouflageClient()
            event = feed(reader, wire, step=step)
            assert isinstance(event, HeadPassed)
            assert event.line == line
            assert wire[size:].startswith(event.trailing)
            assert step < size or event.trailing


# What is written ---------------------------------------------------------------------------------


def test_all_that_can_be_set_is_written() -> None:
    request = CamouflageRequest(
        version="1.0",
        method="POST",
        paths=("/a", "/b?c=d"),
        headers={"Zone": ("z",), "Host": ("one", "two"), "Empty": ("",)},
    )
    head = request.encode(ScriptedEntropy(numbers=[1, 0]))
    assert head == b"POST /b?c=d HTTP/1.0\r\nEmpty: \r\nHost: one\r\nZone: z\r\n\r\n"
    response = CamouflageResponse(
        version="1.0", status="404", reason="Not Here", headers={"date": ("never",)}
    )
    assert response.encode(ScriptedEntropy(), NOW) == (
        b"HTTP/1.0 404 Not Here\r\ndate: never\r\n\r\n"
    )


def test_a_date_is_added_where_there_is_none() -> None:
    assert CamouflageResponse(headers={}).encode(ScriptedEntropy(), NOW) == (
        b"HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"paths": ()},
        {"paths": ("a",)},
        {"paths": ("/a b",)},
        {"paths": ("/a\r\nX: y",)},
        {"method": ""},
        {"method": "GET /"},
        {"version": "1.1\r\n"},
        {"headers": {"": ("x",)}},
        {"headers": {"A:": ("x",)}},
        {"headers": {"A": ()}},
        {"headers": {"A": ("x\r\n\r\n",)}},
    ],
)
def test_what_would_break_the_head_is_a_mistake(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot be written|none to pick from"):
        CamouflageRequest(**settings)


def test_an_answer_is_held_to_the_same_rules() -> None:
    with pytest.raises(ValueError, match=r"reason: .* cannot be written"):
        CamouflageResponse(reason="a\nb")
    with pytest.raises(ValueError, match=r"status: .* cannot be written"):
        CamouflageResponse(status="")


@given(st.integers(0, 1000), st.binary(max_size=100), st.integers(1, 400))
def test_what_we_write_is_read_over(seed: int, stream: bytes, step: int) -> None:
    request = CamouflageRequest(paths=("/a", "/b?c", "/ü"))
    wire = request.encode(SeededEntropy(seed)) + stream
    event = feed(CamouflageServer(request.paths), wire, step=step)
    assert isinstance(event, HeadPassed)
    assert stream.startswith(event.trailing)
    assert step < len(wire) or event.trailing == stream
    answer = CamouflageResponse().encode(SeededEntropy(seed), NOW) + stream
    assert isinstance(feed(CamouflageClient(), answer, step=step), HeadPassed)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/tunnel", "/tunnel?x=1", "/%74unnel", "/t%C3%BCr"])
def test_a_query_and_percent_encoding_do_not_count(target: str) -> None:
    wire = f"GET {target} HTTP/1.1\r\n\r\n".encode()
    assert isinstance(feed(CamouflageServer(["/tunnel", "/tür"]), wire), HeadPassed)


@pytest.mark.parametrize(
    ("wire", "page", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NginxPage.NOT_FOUND, "path /;"),
        (b"GET /tunnel/ HTTP/1.1\r\n\r\n", NginxPage.NOT_FOUND, "path /tunnel/;"),
        (b"GET /tunnel\r\n\r\n", NginxPage.BAD_REQUEST, "the line b'GET /tunnel'"),
        (b"GET  HTTP/1.1\r\n\r\n", NginxPage.BAD_REQUEST, "the line b'GET  HTTP/1.1'"),
        (b"\x16\x03\x01", NginxPage.BAD_REQUEST, "no HTTP (16 03 01)"),
        (b"GET /tunnel HTTP/1.1\r\nX: " + b"a" * HEAD_SIZE_MAX, NginxPage.HEAD_TOO_LARGE, "a head"),
        (b"A" * HEAD_SIZE_MAX, NginxPage.HEAD_TOO_LARGE, "a head of more than 8192 bytes"),
    ],
)
def test_who_asks_for_something_else_is_refused(wire: bytes, page: NginxPage, said: str) -> None:
    for step in (len(wire), 100):
        event = feed(CamouflageServer(["/tunnel"]), wire, step=step)
        assert isinstance(event, HeadRefused)
        assert event.page is page
        assert str(event).startswith(said)
        assert str(event).endswith("; expected: path /tunnel")
        assert wire.startswith(event.received)
        answer = event.answer(NOW)
        assert answer.startswith(b"HTTP/1.1 %d " % page.status)
        assert b"\r\nConnection: close\r\n" in answer


def test_a_server_without_a_head_is_explained() -> None:
    client = CamouflageClient()
    client.receive_data(bytes(HEAD_SIZE_MAX - 1))
    assert client.next_event() is NEED_DATA
    client.receive_data(b"\0")
    with pytest.raises(RemoteProtocolError, match="is the server set to `header: http`"):
        client.next_event()


def test_a_server_that_has_received_nothing_waits() -> None:
    assert CamouflageServer(["/"]).next_event() is NEED_DATA
