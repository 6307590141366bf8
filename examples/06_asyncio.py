"""A stream on asyncio: its own reader and writer, through a server."""

import asyncio

from trio_vmess.asyncio import open_vmess_connection
from trio_vmess.testing import fake_vmess_in_thread


async def main(link: str) -> None:
    async with asyncio.timeout(10):
        reader, writer = await open_vmess_connection(link, "example.com:80")
        writer.write(b"hello\n")
        await writer.drain()
        print("answer:", await reader.readline())
        writer.write(b"good bye\n")
        writer.write_eof()  # our end; the answer still comes
        print("the rest:", await reader.read())
        writer.close()
        await writer.wait_closed()


# The fake server runs on Trio, in a thread; the program itself needs no Trio.
with fake_vmess_in_thread() as server:
    asyncio.run(main(server.link))
