"""Fuzz what carries VMess: frames, HTTP heads, PROXY headers.

An input is looked at in all ways: as frames of a client and of a server, as requests, as an answer,
as a head of camouflage, as a PROXY header, and as a list of addresses.
"""

import itertools
from collections.abc import Callable
from typing import TypeVar

import attrs
import h11

from tests.kit.scripted_entropy import ScriptedEntropy
from trio_vmess.core import NEED_DATA, NeedData
from trio_vmess.core.carriage import (
    CamouflageClient,
    CamouflageServer,
    HeadPassed,
    ProxyHeader,
    ProxyHeaderReader,
    encode_proxy_v1,
    encode_proxy_v2,
    find_client,
)
from trio_vmess.core.carriage.upgrade import (
    Refused,
    UpgradeClient,
    Upgraded,
    UpgradeKind,
    UpgradeRequest,
    UpgradeRules,
    UpgradeServer,
    split_early_data_size,
)
from trio_vmess.core.carriage.websocket import Close, FrameReader, FrameWriter
from trio_vmess.errors import RemoteProtocolError

NOW = 1_700_000_000
STEPS = (1, 3, 1 << 20)
NONCE = b"the sample nonce"

_KEY = b"\x37\xfa\x21\x3d"
_REQUEST = (
    b"GET /tunnel HTTP/1.1\r\nHost: node.example\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"


def _frames(*, masked: bool) -> bytes:
    writer = FrameWriter(itertools.repeat(_KEY) if masked else None)
    out = memoryview(bytearray(writer.output_size(300) + writer.output_size(3)))
    size = writer.encode_into(bytes(300), out)
    size += writer.encode_into(b"abc", out[size:])
    return writer.ping(b"?") + bytes(out[:size]) + writer.close(1000, "bye")


SEEDS = (
    _frames(masked=False),
    _frames(masked=True),
    b"\x01\x02gr\x89\x01p\x00\x00\x80\x02an\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00a",
    _REQUEST + b"\r\n" + _frames(masked=True),
    _REQUEST + b"Sec-WebSocket-Protocol: aGVsbG8\r\n\r\nmore",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + _REQUEST + b"\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nUser-Agent: Chrome/1\r\n\r\n" + _REQUEST,
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHEAD ",
    _ANSWER + b"\x82\x01a",
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\nLocation: https://a/\r\n\r\n",
    b"GET /tunnel?x HTTP/1.1\r\nHost: a\r\n\r\nstream",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\nrest",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n",
    b"PROXY UNKNOWN ffff\r\n",
    _PROXY_V2 + b"\x21\x11\x00\x0f\xcb\x00\x71\x07\xc0\x00\x02\x01\xdc\x04\x01\xbb\x04\x00\x00rest",
    _PROXY_V2 + b"\x20\x00\x00\x00",
    b"unknown, 203.0.113.7:1, [2001:db8::7]:443, 127.0.0.1",
    b"/path?ed=2048&a=b",
)


@attrs.define(kw_only=True)
class Outcome:
    """What was made of a stream, apart from how its bytes are cut into pieces."""

    found: object = None
    payload: bytes = b""
    rest: bytes = b""
    error: str | None = None


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; how the bytes are split changes nothing; no
    byte is lost or made up; answers of our own are well-formed HTTP.
    """
    for masked in (False, True):
        check_frames(data, masked=masked)
    for kind in UpgradeKind:
        check_requests(data, UpgradeRules(kind=kind, path="/tunnel"))
    check_requests(data, UpgradeRules(path="/tun", early_data_header=""))
    check_answer(data)
    check_camouflage(data)
    check_proxy_header(data)
    text = data.decode("latin-1")
    find_client(text.split("\n"))
    find_client([text], is_trusted=lambda _: True)
    try:
        split_early_data_size(text)
    except ValueError as exc:
        if "must be a number of bytes" not in str(exc):
            raise


# Frames ------------------------------------------------------------------------------------------


def check_frames(data: bytes, *, masked: bool) -> None:
    """Compare the reader with a parser that takes one frame after the other."""
    expected = parse_frames(data, masked=masked)
    for step in STEPS:
        heard = read_frames(data, masked=masked, step=step)
        if heard.error is None:
            if expected.error is not None or heard != expected:
                raise ValueError(f"not what the frames hold: {heard} and {expected}")
        # What came together with a fault is dropped with it.
        elif expected.error is None or not expected.payload.startswith(heard.payload):
            raise ValueError(f"a fault that is none, or altered payload: {heard} and {expected}")


def read_frames(data: bytes, *, masked: bool, step: int) -> Outcome:
    """Let the reader read."""
    reader, outcome = FrameReader(masked=masked), Outcome()
    try:
        for start in range(0, len(data), step):
            buffer = memoryview(bytearray(data[start : start + step]))
            size = reader.decode_in_place(buffer)
            if not 0 <= size <= len(buffer):
                raise ValueError(f"{size} bytes of payload in {len(buffer)}")
            outcome.payload += bytes(buffer[:size])
            closes = [event for event in reader.take_events() if isinstance(event, Close)]
            outcome.found = closes[0] if closes else outcome.found
    except RemoteProtocolError as exc:
        outcome.error = str(exc)
    return outcome


def parse_frames(data: bytes, *, masked: bool) -> Outcome:
    """Read frames as the RFC describes them, without any regard to speed."""
    outcome, position, is_open = Outcome(), 0, False
    while position + 2 <= len(data):
        first, second = data[position], data[position + 1]
        opcode, fin, is_control = first & 0x0F, first >= 0x80, bool(first & 0x08)
        short = second & 0x7F
        if (
            first & 0x70
            or opcode not in (0, 1, 2, 8, 9, 10)
            or (second >= 0x80) != masked
            or (is_control and (not fin or short > 125))
            or (not is_control and is_open != (opcode == 0))
        ):
            outcome.error = "head"
            return outcome
        extra = {126: 2, 127: 8}.get(short, 0)
        start = position + 2 + extra
        if start > len(data):
            return outcome
        length = int.from_bytes(data[position + 2 : start], "big") if extra else short
        if extra and (length < {2: 126, 8: 65536}[extra] or length >= 1 << 63):
            outcome.error = "length"
            return outcome
        key = data[start : start + 4] if masked else bytes(4)
        start += 4 if masked else 0
        if start > len(data):
            return outcome
        body = data[start : start + length]
        plain = bytes(byte ^ key[index % 4] for index, byte in enumerate(body))
        if is_control and len(body) < length:
            return outcome
        if opcode == 8:
            return _end(outcome, plain)
        if not is_control:
            outcome.payload += plain
            is_open = not fin
        position = start + length
    return outcome


def _end(outcome: Outcome, body: bytes) -> Outcome:
    code = int.from_bytes(body[:2], "big")
    legal = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}
    try:
        reason = body[2:].decode()
    except UnicodeDecodeError:
        legal = set()
    if not body:
        outcome.found = Close()
    elif len(body) == 1 or code not in legal:
        outcome.error = "close"
    else:
        outcome.found = Close(code=code, reason=reason)
    return outcome


# Heads -------------------------------------------------------------------------------------------


def check_requests(data: bytes, rules: UpgradeRules) -> None:
    """All requests of a stream, up to the one that opens the tunnel."""
    outcomes = [_judge(data, rules, step) for step in STEPS]
    if any(outcome != outcomes[0] for outcome in outcomes):
        raise ValueError(f"the split matters: {outcomes}")


def _judge(data: bytes, rules: UpgradeRules, step: int) -> list[object]:
    server, said = UpgradeServer(rules), list[object]()
    for start in range(0, len(data), step):
        server.receive_data(data[start : start + step])
        while (event := server.next_event()) is not NEED_DATA:
            if isinstance(event, Upgraded):
                _require_end(data[: start + step], event.trailing)
                answer = parse_answer(event.answer)
                said.append((event.head, event.early_data, answer))
            elif isinstance(event, Refused):
                _require_end(data[: start + step], event.received)
                method = event.head.method if event.head else "GET"
                answer = parse_answer(event.answer(NOW), method)
                said.append((event.head, event.page, event.keep_alive, answer))
    return said


def parse_answer(answer: bytes, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of an answer that is one response and nothing else."""
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "a"), ("Upgrade", "websocket"), ("Connection", "upgrade")]
    connection.send(h11.Request(method=method, target="/", headers=headers))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    head = connection.next_event()
    if not isinstance(head, h11.Response | h11.InformationalResponse):
        raise TypeError(f"{answer!r} is no answer")
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if connection.trailing_data[0]:
        raise ValueError(f"{answer!r} is more than an answer")
    return head.status_code, body


def check_answer(data: bytes) -> None:
    """An answer to our own request."""
    for kind, drawn in ((UpgradeKind.WEBSOCKET, [NONCE]), (UpgradeKind.HTTP_UPGRADE, [])):
        request = UpgradeRequest(kind=kind, host="node.example")

        def build(request: UpgradeRequest = request, drawn: list[bytes] = drawn) -> UpgradeClient:
            return UpgradeClient(request, entropy=ScriptedEntropy(drawn))

        _compare(data, build, has_trailing=True)


def check_camouflage(data: bytes) -> None:
    """The heads of camouflage, of both ends."""
    _compare(data, CamouflageClient, has_trailing=False)
    _compare(data, lambda: CamouflageServer(["/tunnel"]), has_trailing=False)


def check_proxy_header(data: bytes) -> None:
    """A PROXY header: what is read can be written, and is read again."""
    found = _compare(data, ProxyHeaderReader, has_trailing=True)
    if not isinstance(found, ProxyHeader) or found.source is None:
        return
    for encode in (encode_proxy_v1, encode_proxy_v2):
        again = _hear(encode(found.source, found.destination), ProxyHeaderReader(), step=1)
        if again.found != found:
            raise ValueError(f"{found} was written, and {again} read")


_AnyReader = TypeVar(
    "_AnyReader", UpgradeClient, CamouflageClient, CamouflageServer, ProxyHeaderReader
)


def _compare(data: bytes, build: Callable[[], _AnyReader], *, has_trailing: bool) -> object:
    """Feed readers in pieces of different sizes; return what they all have found."""
    outcomes = [_hear(data, build(), step=step) for step in STEPS]
    for outcome in outcomes:
        _require_end(data, outcome.rest)
        if has_trailing and outcome.rest != outcomes[0].rest:
            raise ValueError(f"bytes were lost: {outcomes}")
        if _summary(outcome) != _summary(outcomes[0]):
            raise ValueError(f"the split matters: {outcomes}")
    return outcomes[0].found


def _hear(
    data: bytes,
    reader: UpgradeClient | CamouflageClient | CamouflageServer | ProxyHeaderReader,
    *,
    step: int,
) -> Outcome:
    outcome = Outcome()
    try:
        for start in range(0, len(data), step):
            reader.receive_data(data[start : start + step])
            event: object | NeedData = reader.next_event()
            if event is not NEED_DATA:
                if outcome.found is not None:
                    raise ValueError(f"{outcome.found}, and then {event}")
                outcome.found = event
                if isinstance(event, HeadPassed):
                    outcome.rest = event.trailing + data[start + step :]
    except RemoteProtocolError as exc:
        outcome.error = str(exc)
        return outcome
    if isinstance(reader, UpgradeClient | ProxyHeaderReader) and outcome.found is not None:
        outcome.rest = reader.trailing_data
    return outcome


def _summary(outcome: Outcome) -> object:
    """Leave out what may depend on how much has come: quoted bytes."""
    if isinstance(outcome.found, HeadPassed):
        return outcome.found.line, outcome.rest
    page = getattr(outcome.found, "page", None)
    return (page or outcome.found, outcome.error is None)


def _require_end(data: bytes, rest: bytes) -> None:
    if not data.endswith(rest):
        raise ValueError(f"{rest!r} is not how {data!r} ends")
