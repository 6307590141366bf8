"""The HTTP origin, spoken to with h11 as a client."""

import h11
import pytest
import trio

from tests.kit.http_origin import ASSET_COUNT, asset, expected_title, page, start_http
from tests.kit.origin import Origin
from tests.kit.pattern import pattern, pattern_sha256


class _Browser:
    """One keep-alive connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.CLIENT)

    async def fetch(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        headers = [("Host", "origin.test"), ("Content-Length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=headers)
        for outgoing in (request, h11.Data(data=body), h11.EndOfMessage()):
            await self._stream.send_all(self._connection.send(outgoing) or b"")
        status, received = 0, bytearray()
        while not isinstance(event := self._connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                self._connection.receive_data(await self._stream.receive_some())
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                received += event.data
        self._connection.start_next_cycle()
        return status, bytes(received)


async def _connect(origin: Origin) -> trio.SocketStream:
    return await trio.open_tcp_stream(origin.host, origin.port)


async def test_one_connection_carries_many_requests() -> None:
    async with start_http(download_size=1000) as origin, await _connect(origin) as stream:
        browser = _Browser(stream)
        assert await browser.fetch("GET", "/") == (200, page(1000))
        assert await browser.fetch("GET", "/bytes/200000") == (200, pattern(200_000))
        assert await browser.fetch("GET", "/bytes/0") == (200, b"")
        assert await browser.fetch("GET", "/assets/99.svg") == (200, asset(99))
        assert await browser.fetch("POST", "/echo", b"back") == (200, b"back")
        assert await browser.fetch("HEAD", "/bytes/7") == (200, b"")
        assert origin.connection_count == 1


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/nothing"),
        ("GET", "/assets/100.svg"),
        ("GET", "/assets/x.svg"),
        ("GET", "/bytes/1073741825"),
        ("GET", "/bytes/" + "9" * 5000),
        ("GET", "/bytes/-1"),
        ("POST", "/"),
    ],
)
async def test_unknown_paths_are_404(method: str, target: str) -> None:
    async with start_http() as origin, await _connect(origin) as stream:
        status, _ = await _Browser(stream).fetch(method, target)
        assert status == 404


async def test_malformed_request_is_answered_and_closed() -> None:
    async with start_http() as origin, await _connect(origin) as stream:
        await stream.send_all(b"\x01\x02 not http\r\n\r\n")
        answer = b"".join([piece async for piece in stream])
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_page_names_every_asset_and_the_title_it_will_get() -> None:
    text = page(123).decode()
    assert all(f'src="/assets/{number}.svg"' in text for number in range(ASSET_COUNT))
    assert 'fetch("/bytes/123")' in text
    assert expected_title(123) == f"loaded 100 {pattern_sha256(123)}"
