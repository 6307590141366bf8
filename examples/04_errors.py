"""What can go wrong with a stream, and what it looks like."""

import logging
import sys

import trio

import trio_vmess

ANN = trio_vmess.Account("b831381d-6324-4d53-ad4f-8cda48b30811")
STRANGER = trio_vmess.Account("27848739-7e62-4138-9fd3-098a63964b6b")
SERVER = """
    [[inbounds]]
    protocol = "vmess"
    listen = "127.0.0.1"
    port = 0
    users = [{ id = "b831381d-6324-4d53-ad4f-8cda48b30811" }]

    [[outbounds]]
    protocol = "freedom"
    allow_private = true
"""
NOBODY = ("127.0.0.1", 1)  # no program listens there


async def attempt(server: tuple[str, int] | str, account: trio_vmess.Account) -> None:
    try:
        with trio.fail_after(0.5):
            async with trio_vmess.open_vmess_stream(server, NOBODY, account=account) as stream:
                await stream.send_all(b"hello")
                await stream.receive_some()
    except trio_vmess.DialError as exc:
        print("the server cannot be reached:", exc)
    except trio.TooSlowError:
        print("silence: the server does not know us, or something is slow")
    except trio.BrokenResourceError as exc:
        print("broken:", exc)


async def main() -> None:
    # Before anything is opened: what we ask for makes no sense, or is not supported.
    link = "vmess://b831381d-6324-4d53-ad4f-8cda48b30811@example.com:443"
    for use in (f"{link}?type=kcp&security=reality", link):
        try:
            trio_vmess.open_vmess_stream(use, "example.com:0")
        except trio_vmess.ConfigError as exc:
            for problem in exc.problems:
                print("unsupported:", problem)
        except ValueError as exc:
            print("not valid:", exc)

    # A node logs as programs do: by `logging`, under the name trio_vmess.
    logging.basicConfig(stream=sys.stdout, format="the server's log: %(message)s")
    async with trio.open_nursery() as nursery:
        node = await nursery.start(trio_vmess.serve, trio_vmess.parse_config(SERVER))
        server = node.listening[0].address
        await attempt(NOBODY, ANN)
        await attempt(server, ANN)  # to a destination that is not there
        await attempt(server, STRANGER)
        nursery.cancel_scope.cancel()


trio.run(main)
