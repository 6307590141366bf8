"""What programs that use this package test themselves with."""

import asyncio
import uuid

import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.kit.trio_thread import run_asyncio
from trio_vmess import (
    Account,
    Destination,
    RemoteProtocolError,
    VMessStream,
    open_vmess_datagrams,
    open_vmess_stream,
)
from trio_vmess.asyncio import open_vmess_connection
from trio_vmess.errors import AuthenticationError, Refusal
from trio_vmess.testing import (
    FakeClock,
    fake_vmess_in_thread,
    serve_fake_vmess,
    vmess_stream_pair,
)

# The fake server ----------------------------------------------------------------------------------


async def test_it_echoes_streams_and_notes_their_destinations() -> None:
    async with serve_fake_vmess() as server:
        for host in ("a.example", "b.example"):
            async with open_vmess_stream(server.link, (host, 80)) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
                await stream.send_eof()
                assert await stream.receive_some() == b""
    assert [str(each) for each in server.requests] == ["tcp:a.example:80", "tcp:b.example:80"]
    assert server.refusals == []


async def test_it_echoes_datagrams() -> None:
    async with (
        serve_fake_vmess() as server,
        open_vmess_datagrams(server.link, "a.example:53") as datagrams,
    ):
        await datagrams.send(b"hello")
        assert await datagrams.receive() == b"hello"
        assert [str(each) for each in server.requests] == ["udp:a.example:53"]


async def test_a_handler_is_the_destination() -> None:
    async def shout(stream: VMessStream, destination: Destination) -> None:
        if destination.port != 80:
            return
        await stream.send_all((await stream.receive_some()).upper())

    async with serve_fake_vmess(shout) as server:
        async with open_vmess_stream(server.link, "a.example:80") as stream:
            await stream.send_all(b"hello")
            assert [data async for data in stream] == [b"HELLO"]
        async with open_vmess_stream(server.link, "a.example:81") as stream:
            await stream.send_all(b"hello")
            with pytest.raises(trio.BrokenResourceError, match="without an answer"):
                await stream.receive_some()


async def test_what_a_handler_raises_is_seen() -> None:
    async def fail(stream: VMessStream, _: Destination) -> None:
        await stream.receive_some()
        raise KeyError("a mistake in the test")

    with pytest.RaisesGroup(pytest.RaisesExc(KeyError), flatten_subgroups=True):
        async with (
            serve_fake_vmess(fail) as server,
            open_vmess_stream(server.link, "a.example:80") as stream,
        ):
            await stream.send_all(b"hello")
            await trio.sleep_forever()


async def test_a_stranger_is_refused_in_silence() -> None:
    async with serve_fake_vmess() as server:
        stranger = Account(uuid.UUID(int=7))
        async with open_vmess_stream(
            (server.host, server.port), "a.example:80", account=stranger
        ) as stream:
            await stream.send_all(b"hello")
            while not server.refusals:
                await trio.lowlevel.checkpoint()
            with trio.move_on_after(0.01) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
        (refusal,) = server.refusals
        assert isinstance(refusal, AuthenticationError)
        assert refusal.reason is Refusal.UNKNOWN_USER
        assert server.requests == []


async def test_a_clock_that_is_off_is_a_refusal() -> None:
    clock = FakeClock(offset=3600)
    async with serve_fake_vmess(clock=clock, account=Account(uuid.UUID(int=1))) as server:
        async with open_vmess_stream(server.link, "a.example:80") as stream:
            await stream.send_all(b"hello")
            while not server.refusals:
                await trio.lowlevel.checkpoint()
        (refusal,) = server.refusals
        assert isinstance(refusal, AuthenticationError)
        assert refusal.reason is Refusal.CLOCK_SKEW
        clock.offset = 0
        async with open_vmess_stream(server.link, "a.example:80") as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"


def test_in_a_thread_it_serves_asyncio() -> None:
    with fake_vmess_in_thread() as server:

        async def main() -> None:
            reader, writer = await open_vmess_connection(server.link, "a.example:80")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()

        run_asyncio(main)
        assert [str(each) for each in server.requests] == ["tcp:a.example:80"]


def test_what_a_handler_in_a_thread_raises_is_seen() -> None:
    async def fail(stream: VMessStream, _: Destination) -> None:
        raise KeyError("a mistake in the test")

    async def main() -> None:
        reader, writer = await open_vmess_connection(server.link, "a.example:80")
        writer.write(b"hello")
        with pytest.raises((RemoteProtocolError, ConnectionError)):
            await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)

    with (
        pytest.RaisesGroup(pytest.RaisesExc(KeyError), flatten_subgroups=True),
        fake_vmess_in_thread(fail) as server,
    ):
        run_asyncio(main)


# The pair -----------------------------------------------------------------------------------------


async def test_both_ends_of_a_pair(autojump_clock: trio.testing.MockClock) -> None:
    client, server = vmess_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"hello")
        assert await server.receive_some() == b"hello"
        nursery.start_soon(server.send_all, b"and back")
        assert await client.receive_some() == b"and back"
        await trio.sleep(1000)
        await client.send_eof()
        assert await server.receive_some() == b""
        await server.send_all(b"the rest")
        await server.aclose()
        assert [data async for data in client] == [b"the rest"]


# The fixtures -------------------------------------------------------------------------------------


def test_a_project_can_use_the_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["trio_vmess.testing.fixtures"]')
    pytester.makepyfile(
        """
        import trio
        import trio_vmess
        from trio_vmess.testing import FakeClock

        def test_link(vmess_link, vmess_server, vmess_clock):
            async def main():
                async with trio_vmess.open_vmess_stream(vmess_link, "a.example:80") as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"

            trio.run(main)
            assert vmess_server.requests[0].port == 80
            assert vmess_server.clock is vmess_clock

        def test_pair(vmess_pair):
            async def main():
                client, server = vmess_pair
                async with client, server:
                    await client.send_all(b"hello")
                    assert await server.receive_some() == b"hello"

            trio.run(main)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


def test_they_are_not_loaded_by_themselves(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    assert "vmess_" not in result.stdout.str()
