"""A transfer that breaks off anywhere on its way ends as a reset at the program."""

import signal
import socket
import struct
from pathlib import Path

import pytest
import trio

from tests.kit.commands import running_command
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_echo, start_tcp_origin
from tests.kit.peer_specs import USER_ID, ClientSpec
from tests.kit.ports import free_port
from tests.kit.socks_client import open_socks_stream, receive_exactly
from trio_vmess import config

SIZE = 200_000


async def send_a_part_and_reset(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_all(bytes(SIZE))
    await stream.receive_some(1)
    inner = stream._inner  # type: ignore[attr-defined]  (the origin counts what passes)
    inner.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def send_a_part_and_wait(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_all(bytes(SIZE))
    await trio.sleep_forever()


@pytest.mark.parametrize("security", ["aes-128-gcm", "none", "zero"])
async def test_a_destination_that_is_reset(security: str) -> None:
    async with (
        start_tcp_origin(send_a_part_and_reset) as origin,
        start_server_node() as server,
        start_client_node(ClientSpec(server_port=server.port, security=security)) as client,
        await open_socks_stream(client.port, origin.host, origin.port) as stream,
    ):
        await receive_exactly(stream, SIZE)
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


@pytest.mark.parametrize("security", ["aes-128-gcm", "none"])
async def test_a_server_node_that_is_killed(security: str, tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "server.toml"
    file.write_text(
        f"""
        [[inbounds]]
        protocol = "vmess"
        listen = "127.0.0.1"
        port = {port}
        users = [{{ id = "{USER_ID}" }}]

        [[outbounds]]
        protocol = "freedom"
        allow_private = true
        """
    )
    with running_command("run", "--config", str(file)) as server:
        assert server.stdout is not None
        assert "listening" in server.stdout.readline()
        async with (
            start_tcp_origin(send_a_part_and_wait) as origin,
            start_client_node(ClientSpec(server_port=port, security=security)) as client,
            start_echo() as echo,
        ):
            # A whole answer shows that this server says when a body has ended.
            async with await open_socks_stream(client.port, echo.host, echo.port) as stream:
                await stream.send_eof()
                assert await stream.receive_some() == b""
            stream = await open_socks_stream(client.port, origin.host, origin.port)
            await receive_exactly(stream, SIZE)
            server.send_signal(signal.SIGKILL)
            server.wait()
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            await stream.aclose()


@pytest.mark.parametrize("head", [b"", b"Content-Length: 900000\r\n"], ids=["until close", "sized"])
async def test_an_http_response_that_breaks_off(head: bytes) -> None:
    """A client that waits for the end must not take the part for the whole."""

    async def answer(stream: trio.abc.HalfCloseableStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.0 200 OK\r\n" + head + b"\r\n")
        await send_a_part_and_reset(stream)

    async with (
        start_tcp_origin(answer) as origin,
        start_server_node() as server,
        start_client_node(
            ClientSpec(server_port=server.port), proxy=config.HttpInboundSettings()
        ) as client,
        await trio.open_tcp_stream("127.0.0.1", client.port) as stream,
    ):
        target = f"http://{origin.host}:{origin.port}/"
        await stream.send_all(f"POST {target} HTTP/1.0\r\nContent-Length: 1\r\n\r\n".encode())
        received = b""
        while len(received) < SIZE:
            received += await stream.receive_some()
        await stream.send_all(b"x")

        async def read_on() -> None:
            nonlocal received
            while piece := await stream.receive_some():
                received += piece

        with pytest.raises(trio.BrokenResourceError):
            await read_on()
        assert not received.endswith(b"\r\n0\r\n\r\n")
