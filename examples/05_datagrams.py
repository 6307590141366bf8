"""Datagrams to one destination; from here on, a fake server takes the place of a real one."""

import trio

import trio_vmess
from trio_vmess.testing import serve_fake_vmess


async def main() -> None:
    async with serve_fake_vmess() as server:  # echoes, whatever the destination
        with trio.fail_after(10):
            async with trio_vmess.open_vmess_datagrams(server.link, "192.0.2.1:53") as datagrams:
                for question in (b"one", b"two"):
                    await datagrams.send(question)
                    print("answer:", await datagrams.receive())
        print("the server was asked for", *server.requests)


trio.run(main)
