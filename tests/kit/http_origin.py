"""A plain HTTP/1.1 origin on loopback, for clients that speak HTTP through a proxy.

Paths:
    /                  a page with 100 small images and one large download, checked by the page
    /assets/N.svg      a small image, N in 0..99
    /bytes/N           N bytes of the pattern, at most 1 GiB
    /echo              the body of a POST request, sent back

The page's script waits for all images and hashes the download.
Then it writes `loaded IMAGES SHA256` (or `failed REASON`) into the document's title.
"""

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import attrs
import h11
import trio

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.origin import MAX_SIZE, Origin, start_tcp_origin
from tests.kit.pattern import pattern_pieces, pattern_sha256

ASSET_COUNT: Final = 100
DOWNLOAD_SIZE: Final = 8 << 20
"""Bytes the page downloads by default."""

_READ_SIZE: Final = 65_536
_MAX_BODY: Final = 16 << 20

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>loading</title></head>
<body>
{images}
<script>
const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (b) => b.toString(16).padStart(2, "0")).join("");
const pageLoaded = new Promise((done) => window.addEventListener("load", done));
(async () => {{
  try {{
    const response = await fetch("/bytes/{size}");
    const hash = hex(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
    await pageLoaded;
    const shown = Array.from(document.images).filter((image) => image.naturalWidth > 0);
    document.title = `loaded ${{shown.length}} ${{hash}}`;
  }} catch (error) {{
    document.title = `failed ${{error}}`;
  }}
}})();
</script>
</body>
</html>
"""


@attrs.frozen(kw_only=True)
class Reply:
    """What a path gives."""

    status: int
    content_type: str
    body: bytes | int
    """The body itself, or how many bytes of the pattern."""


def asset(number: int) -> bytes:
    """Return the small image that `/assets/NUMBER.svg` gives."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16">'
        f'<rect width="16" height="16" fill="hsl({number * 3},80%,50%)"/></svg>\n'
    ).encode()


def page(download_size: int = DOWNLOAD_SIZE) -> bytes:
    """Return the page at `/`."""
    images = "\n".join(
        f'<img src="/assets/{number}.svg" alt="{number}">' for number in range(ASSET_COUNT)
    )
    return _PAGE.format(images=images, size=download_size).encode()


def expected_title(download_size: int = DOWNLOAD_SIZE) -> str:
    """Return the page's title once everything has arrived unharmed."""
    return f"loaded {ASSET_COUNT} {pattern_sha256(download_size)}"


def _number(text: str, limit: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit))):
        return None
    return int(text) if int(text) <= limit else None


def reply_to(method: str, target: str, body: bytes, download_size: int) -> Reply:
    """Return what a request is answered with."""
    missing = Reply(status=404, content_type="text/plain", body=b"no such path\n")
    if method == "POST":
        if target != "/echo":
            return missing
        return Reply(status=200, content_type="application/octet-stream", body=body)
    match target.split("?")[0].split("/")[1:]:
        case [""]:
            return Reply(status=200, content_type="text/html", body=page(download_size))
        case ["bytes", size_text] if (size := _number(size_text, MAX_SIZE)) is not None:
            return Reply(status=200, content_type="application/octet-stream", body=size)
        case ["assets", name] if name.endswith(".svg"):
            number = _number(name.removesuffix(".svg"), ASSET_COUNT - 1)
            if number is not None:
                return Reply(status=200, content_type="image/svg+xml", body=asset(number))
    return missing


async def _receive_request(
    connection: h11.Connection, stream: trio.abc.Stream
) -> tuple[h11.Request, bytes] | None:
    """Return the next request and its body, or None when there will be none."""
    request, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_READ_SIZE))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY:
                return None
        else:
            return None if request is None else (request, bytes(body))


async def _send_reply(
    connection: h11.Connection,
    stream: trio.abc.Stream,
    reply: Reply,
    *,
    with_body: bool,
) -> None:
    size = reply.body if isinstance(reply.body, int) else len(reply.body)
    head = h11.Response(
        status_code=reply.status,
        headers=[
            ("Content-Type", reply.content_type),
            ("Content-Length", str(size)),
            ("Cache-Control", "no-store"),
        ],
    )
    await stream.send_all(connection.send(head) or b"")
    if with_body:
        pieces = pattern_pieces(size) if isinstance(reply.body, int) else (reply.body,)
        for piece in pieces:
            await stream.send_all(connection.send(h11.Data(data=piece)) or b"")
    await stream.send_all(connection.send(h11.EndOfMessage()) or b"")


async def serve_http(download_size: int, stream: trio.abc.Stream) -> None:
    """Serve one connection to its end."""
    connection = h11.Connection(h11.SERVER)
    try:
        while (received := await _receive_request(connection, stream)) is not None:
            request, body = received
            method, target = request.method.decode(), request.target.decode()
            reply = reply_to(method, target, body, download_size)
            await _send_reply(connection, stream, reply, with_body=method != "HEAD")
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        # What follows a malformed request cannot be trusted: answer once and close.
        if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            refusal = Reply(
                status=error.error_status_hint, content_type="text/plain", body=b"malformed\n"
            )
            await _send_reply(connection, stream, refusal, with_body=True)


def start_http(
    host: str = IPV4_LOOPBACK, *, download_size: int = DOWNLOAD_SIZE
) -> AbstractAsyncContextManager[Origin]:
    """Serve HTTP/1.1 with keep-alive.

    Args:
        host: a loopback address, or `localhost` for all of them.
        download_size: bytes the page at `/` downloads.
    """
    return start_tcp_origin(partial(serve_http, download_size), host)
