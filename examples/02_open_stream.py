"""A stream to a destination through a VMess server; the server is brought along, as in 03."""

import functools

import trio

import trio_vmess

USER_ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
SERVER = f"""
    [[inbounds]]
    protocol = "vmess"
    listen = "127.0.0.1"
    port = 0
    users = [{{ id = "{USER_ID}" }}]

    [[outbounds]]
    protocol = "freedom"
    allow_private = true
"""


async def shout(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data.upper())


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve_shouts = functools.partial(trio.serve_tcp, shout, 0, host="127.0.0.1")
        (origin,) = await nursery.start(serve_shouts)
        node = await nursery.start(trio_vmess.serve, trio_vmess.parse_config(SERVER))

        link = f"vmess://{USER_ID}@{node.listening[0].address}"
        destination = origin.socket.getsockname()  # or "example.com:443", or a Destination
        with trio.fail_after(10):
            async with trio_vmess.open_vmess_stream(link, destination) as stream:
                await stream.send_all(b"hello")
                await stream.send_all(b" and good bye")
                await stream.send_eof()  # our end; the answer still comes
                answer = b"".join([data async for data in stream])
        print("answer:", answer.decode())
        nursery.cancel_scope.cancel()


trio.run(main)
