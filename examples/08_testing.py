"""What a program can be tested with: a fake server whose clock is wrong, and a clock that jumps."""

import trio
import trio.testing

import trio_vmess
from trio_vmess.testing import FakeClock, serve_fake_vmess, vmess_stream_pair


async def is_reachable(link: str) -> bool:
    """Say whether a server takes us: the program that is tested here."""
    with trio.move_on_after(2):
        async with trio_vmess.open_vmess_stream(link, "example.com:80") as stream:
            await stream.send_all(b"ping")
            return bool(await stream.receive_some())
    return False


async def test_a_wrong_clock() -> None:
    clock = FakeClock()
    async with serve_fake_vmess(clock=clock) as server:
        print("reachable:", await is_reachable(server.link))
        clock.offset = 3600  # the server's clock goes an hour fast
        print("reachable:", await is_reachable(server.link))
        print("refused:", server.refusals[0])


async def test_an_hour_of_silence() -> None:
    client, server_end = vmess_stream_pair()
    async with client, server_end:
        with trio.move_on_after(3600) as scope:
            await client.receive_some()
        print("waited for an hour:", scope.cancelled_caught)


trio.run(test_a_wrong_clock)
trio.run(test_an_hour_of_silence, clock=trio.testing.MockClock(autojump_threshold=0))
