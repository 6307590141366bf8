"""HTTP requests through a server, with httpx; it runs on asyncio in the same way."""

import httpx
import trio

import trio_vmess
from trio_vmess.httpx import VMessTransport
from trio_vmess.testing import serve_fake_vmess


async def answer(stream: trio_vmess.VMessStream, where: trio_vmess.Destination) -> None:
    """Be a small web server: one that answers each request on the connection."""
    async for _ in stream:
        body = f"this is {where.host}".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body)


async def main() -> None:
    async with serve_fake_vmess(answer) as server:
        transport = VMessTransport(server.link)
        async with httpx.AsyncClient(transport=transport, timeout=10) as client:
            for path in ("/", "/again"):
                response = await client.get(f"http://example.com{path}")
                print(response.status_code, response.text)
        print("connections:", len(server.requests))  # the second request used the first one's


trio.run(main)
