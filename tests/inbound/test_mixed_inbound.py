"""The mixed inbound: SOCKS and HTTP on one port."""

import logging

import pytest
import trio
import trio.testing

from tests.kit.inbound_client import LOCAL, SOURCE, open_client
from tests.kit.scripted_remote import open_remote
from tests.kit.socks_client import encode_address
from trio_vmess.contracts import Dispatch, Transport
from trio_vmess.core import Policy
from trio_vmess.inbound import HttpInbound, MixedInbound, SocksInbound

SOCKS_BYTES = frozenset({4, 5})


class RecordingInbound:
    """An inbound that records its name and the bytes that it receives."""

    def __init__(self, name: str, records: list[tuple[str, bytes, str]]) -> None:
        self._name = name
        self._records = records

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        assert transport.local == LOCAL
        buffer = memoryview(bytearray(3))
        received = b""
        while size := await transport.receive_into(buffer):
            received += buffer[:size]
        self._records.append((self._name, received, source))
        await transport.aclose()


async def test_the_first_byte_selects_the_inbound(autojump_clock: trio.testing.MockClock) -> None:
    records: list[tuple[str, bytes, str]] = []
    mixed = MixedInbound(RecordingInbound("socks", records), RecordingInbound("http", records))
    for first in range(256):
        data = bytes([first]) + b" and the rest"
        async with open_client(mixed) as client:
            await client.send(data[:5])
            await client.send(data[5:])
            await client.stream.send_eof()
            await client.returned.wait()
        expected = "socks" if first in SOCKS_BYTES else "http"
        assert records.pop() == (expected, data, SOURCE)
    assert records == []


async def test_a_client_that_sends_nothing_is_closed(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    records: list[tuple[str, bytes, str]] = []
    mixed = MixedInbound(RecordingInbound("socks", records), RecordingInbound("http", records))
    async with open_client(mixed, handshake=5.0) as client:
        assert await client.receive_rest() == b""
        assert trio.current_time() == pytest.approx(5.0)
    async with open_client(mixed) as client:
        await client.stream.send_eof()
        assert await client.receive_rest() == b""
    assert records == []
    assert caplog.messages == [
        f"mixed.refused source={SOURCE} reason='no data before the handshake deadline'"
    ]


def proxies(dispatch: Dispatch) -> MixedInbound:
    policy = Policy()
    return MixedInbound(
        SocksInbound(dispatch, tag="", level=0, accounts=None, udp=False, udp_address=None),
        HttpInbound(dispatch, tag="", policy=policy, level=0, accounts=None),
    )


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (
            b"\x05\x01\x00\x05\x01\x00" + encode_address("example.com", 443),
            b"\x05\x00\x05\x00\x00" + encode_address("192.0.2.7", 4711),
        ),
        (
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
async def test_socks_and_http_on_one_port(
    sent: bytes, answer: bytes, step: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_remote() as remote, open_client(proxies(remote.dispatch)) as client:
        whole = sent + b"early"
        for start in range(0, len(whole), step):
            await client.send(whole[start : start + step])
        assert await client.receive(len(answer) + 5) == answer + b"early"
