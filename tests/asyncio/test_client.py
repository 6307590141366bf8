"""A stream through a server, on asyncio; the server is a node on Trio in another thread."""

import asyncio
import functools
import queue
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from tests.kit.certificates import authority, issue, write_certificate
from tests.kit.commands import run_python
from tests.kit.one_server import ACCOUNT, LINK, OneServer, running_server
from tests.kit.ports import free_port
from tests.kit.trio_thread import in_trio_thread, run_asyncio
from trio_vmess import Account, ConfigError, DialError, LocalProtocolError, RemoteProtocolError
from trio_vmess.asyncio import open_vmess_connection
from trio_vmess.config import (
    PLAIN_STREAM,
    CarrierSettings,
    CertificateSettings,
    HttpHeaderSettings,
    HttpUpgradeSettings,
    SocketSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    UnixSocket,
    WebSocketSettings,
    format_share_link,
    share_link_outbound,
)
from trio_vmess.core import Destination
from trio_vmess.core.carriage.upgrade import Upgraded, UpgradeRules, UpgradeServer
from trio_vmess.core.vmess import SECURITY_WORDS

NAME: Final = "server.example"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def server_in_thread(stream: StreamSettings = PLAIN_STREAM) -> Iterator[OneServer]:
    with in_trio_thread(functools.partial(running_server, stream)) as server:
        yield server


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def check_echo(streams: Streams) -> None:
    """Send something, get it back, half-close, and close."""
    reader, writer = streams
    writer.write(b"hello")
    await writer.drain()
    assert await reader.readexactly(5) == b"hello"
    writer.write(b"the rest")
    writer.write_eof()
    assert await reader.read() == b"the rest"
    await close(writer)


# Through a server ---------------------------------------------------------------------------------


@pytest.mark.parametrize("security", [word for word in SECURITY_WORDS if word != "aes-128-cfb"])
def test_each_security(security: str) -> None:
    with server_in_thread() as server:

        async def main() -> None:
            await check_echo(
                await open_vmess_connection(server.link, server.origin, security=security)
            )

        run_asyncio(main)


def test_host_port_and_account() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            await check_echo(
                await open_vmess_connection(
                    f"127.0.0.1:{server.port}", server.origin, account=ACCOUNT
                )
            )

        run_asyncio(main)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "carrier",
    [
        TcpSettings(),
        WebSocketSettings(path="/tunnel", max_early_data=2048),
        HttpUpgradeSettings(path="/tunnel"),
    ],
    ids=["tcp", "ws", "httpupgrade"],
)
def test_an_outbound_brings_its_transport(
    tmp_path: Path, carrier: CarrierSettings, is_secure: bool
) -> None:
    files = write_certificate(tmp_path, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    root = CertificateSettings(certificate_file=str(files.root))
    ends = (TlsSettings(certificates=(own,)), TlsSettings(server_name=NAME, roots=(root,)))
    for_server, for_client = (
        StreamSettings(carrier=carrier, tls=tls if is_secure else None) for tls in ends
    )
    with server_in_thread(for_server) as server:

        async def main() -> None:
            outbound = server.outbound(for_client)
            await check_echo(await open_vmess_connection(outbound, server.origin))
            # The size of many reads, frames and buffers.
            sent = secrets.token_bytes(3 << 20)
            reader, writer = await open_vmess_connection(outbound, server.origin)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent
            await close(writer)

        run_asyncio(main)


def test_tls_with_the_destination() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issue(NAME).configure_cert(context)
    trusting = ssl.create_default_context()
    authority().configure_trust(trusting)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data.upper())
        await close(writer)

    with server_in_thread() as server:

        async def main() -> None:
            origin = await asyncio.start_server(shout, "127.0.0.1", 0, ssl=context)
            async with origin:
                target = origin.sockets[0].getsockname()
                reader, writer = await open_vmess_connection(server.link, target)
                await writer.start_tls(trusting, server_hostname=NAME)
                for word in (b"hello", b"x" * 200_000):
                    writer.write(word)
                    assert await reader.readexactly(len(word)) == word.upper()
                await close(writer)

                reader, writer = await open_vmess_connection(server.link, target)
                with pytest.raises(ssl.SSLCertVerificationError):
                    await writer.start_tls(trusting, server_hostname="another.example")
                writer.transport.abort()

        run_asyncio(main)


def test_a_program_that_receives_first() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome")
        await close(writer)

    with server_in_thread() as server:

        async def main() -> None:
            async with await asyncio.start_server(greet, "127.0.0.1", 0) as origin:
                target = origin.sockets[0].getsockname()
                reader, writer = await open_vmess_connection(server.link, target)
                assert await reader.read() == b"220 welcome"
                await close(writer)

        run_asyncio(main)


# Flow control -------------------------------------------------------------------------------------


async def stalled_origin(
    check: Callable[[tuple[str, int], asyncio.Event], Awaitable[None]], *, sends: bool
) -> int:
    """Run an origin that sends without an end, or reads nothing; return what it has sent."""
    release, sent = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while sends and not release.is_set():
                writer.write(bytes(65_536))
                await writer.drain()
                sent += 65_536
            await release.wait()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    # A limit so small that the reader stops at once.
    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=1) as origin:
        await check(origin.sockets[0].getsockname(), release)
        release.set()
    return sent


def test_drain_waits_for_a_destination_that_reads_nothing() -> None:
    with server_in_thread() as server:

        async def check(target: tuple[str, int], _: asyncio.Event) -> None:
            _reader, writer = await open_vmess_connection(server.link, target)
            for _ in range(2048):  # 128 MiB: more than all buffers on the way
                writer.write(bytes(65_536))
                draining = asyncio.create_task(writer.drain())
                await asyncio.wait({draining}, timeout=0.2)
                if not draining.done():
                    break
            else:
                pytest.fail("nothing has stopped the writer")
            draining.cancel()
            assert writer.transport.get_write_buffer_size() < 1 << 20
            writer.transport.abort()

        async def main() -> None:
            await stalled_origin(check, sends=False)

        run_asyncio(main)


def test_a_reader_that_is_not_read_stops_the_destination() -> None:
    with server_in_thread() as server:

        async def check(target: tuple[str, int], _: asyncio.Event) -> None:
            reader, writer = await open_vmess_connection(server.link, target, limit=4096)
            assert await reader.readexactly(1) == b"\0"
            transport = writer.transport
            assert isinstance(transport, asyncio.Transport)
            while transport.is_reading():  # noqa: ASYNC110  (nothing tells when it stops)
                await asyncio.sleep(0.001)
            # It goes on when it is read.
            await reader.readexactly(1 << 20)
            writer.transport.abort()

        async def main() -> None:
            assert await stalled_origin(check, sends=True) > 1 << 20

        run_asyncio(main)


# What goes wrong ----------------------------------------------------------------------------------


def test_a_destination_that_is_not_reached() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            reader, writer = await open_vmess_connection(server.link, ("127.0.0.1", free_port()))
            writer.write(b"hello")
            with pytest.raises(
                RemoteProtocolError, match="closed the connection without an answer"
            ):
                await reader.read(1)
            writer.close()
            with pytest.raises(RemoteProtocolError):
                await writer.wait_closed()

        run_asyncio(main)


def test_an_unknown_user_gets_silence() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            stranger = Account(secrets.token_bytes(16))
            reader, writer = await open_vmess_connection(
                ("127.0.0.1", server.port), server.origin, account=stranger
            )
            writer.write(b"hello")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reader.read(1)
            await close(writer)

        run_asyncio(main)


def test_an_answer_that_is_not_vmess() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
        await writer.drain()
        await reader.read()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            reader, writer = await open_vmess_connection(address, "a.example:80", account=ACCOUNT)
            writer.write(b"hello")
            with pytest.raises(RemoteProtocolError):
                await reader.read(1)
            writer.write(b"more")
            with pytest.raises((RemoteProtocolError, ConnectionError)):
                await writer.drain()
            writer.close()

    run_asyncio(main)


def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        with pytest.raises(DialError, match=r"^127.0.0.1:\d+: Connection refused$"):
            await open_vmess_connection(("127.0.0.1", free_port()), "a.example:80", account=ACCOUNT)

    run_asyncio(main)


def test_a_server_that_is_not_who_it_should_be(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    with server_in_thread(StreamSettings(tls=TlsSettings(certificates=(own,)))) as server:

        async def main() -> None:
            with pytest.raises(DialError, match=rf"TLS with {NAME}: the certificate"):
                await open_vmess_connection(server.link_with(tls="tls", sni=NAME), server.origin)

        run_asyncio(main)


def test_a_server_without_tls() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            stream = StreamSettings(tls=TlsSettings(server_name=NAME))

            async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(1)
                writer.write(b"220 this is not TLS\r\n")
                await close(writer)

            async with await asyncio.start_server(closes, "127.0.0.1", 0) as plain:
                port = plain.sockets[0].getsockname()[1]
                outbound = attrs.evolve(
                    share_link_outbound(attrs.evolve(LINK, address="127.0.0.1", port=port)),
                    stream=stream,
                )
                with pytest.raises(DialError, match=f"TLS with {NAME}: .*TLS on this port"):
                    await open_vmess_connection(outbound, server.origin)

        run_asyncio(main)


def test_a_path_that_is_not_the_tunnels() -> None:
    with server_in_thread(StreamSettings(carrier=WebSocketSettings(path="/tunnel"))) as server:

        async def main() -> None:
            link = server.link_with(network="ws", path="/elsewhere")
            with pytest.raises(DialError, match="websocket: the server answered 404"):
                await open_vmess_connection(link, server.origin)

        run_asyncio(main)


def test_a_destination_without_a_legal_form() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            with pytest.raises(LocalProtocolError, match="domain"):
                await open_vmess_connection(server.link, Destination(host="not a domain", port=80))

        run_asyncio(main)


PIN: Final = bytes(32)
CERTIFICATE: Final = CertificateSettings(certificate_file="own.pem", key_file="own.key")


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (StreamSettings(unix=UnixSocket("/run/x")), "stream.unix: a Unix socket"),
        (StreamSettings(socket=SocketSettings(mark=1)), "stream.socket: options of sockets"),
        (
            StreamSettings(carrier=TcpSettings(header=HttpHeaderSettings())),
            "stream.header: HTTP camouflage",
        ),
        (
            StreamSettings(carrier=WebSocketSettings(heartbeat=10)),
            "stream.heartbeat: a heartbeat",
        ),
        (
            StreamSettings(tls=TlsSettings(pinned_certificates=(PIN,), pinned_chains=(PIN,))),
            (
                "tls.pinned_certificates: pinned certificates: not supported under asyncio; use "
                "trio_vmess.open_vmess_stream, or a node\ntls.pinned_chains: pinned chains"
            ),
        ),
        (StreamSettings(tls=TlsSettings(verify_names=("a.b",))), "tls.verify_names: other names"),
        (StreamSettings(tls=TlsSettings(certificates=(CERTIFICATE,))), "tls.certificates: a"),
    ],
)
def test_what_is_not_supported_is_named(stream: StreamSettings, message: str) -> None:
    async def main() -> None:
        outbound = attrs.evolve(share_link_outbound(LINK), stream=stream)
        with pytest.raises(ConfigError) as caught:
            await open_vmess_connection(outbound, "a.example:80")
        assert str(caught.value).startswith(message)
        assert "not supported under asyncio" in str(caught.value)

    run_asyncio(main)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((format_share_link(LINK), 443), TypeError, "destination: expected"),
        ((("a.example", 443), "b.example:80"), TypeError, "account: with host and port"),
        ((format_share_link(attrs.evolve(LINK, network="grpc")), "b:80"), ConfigError, "net: "),
    ],
)
def test_arguments_are_read_as_on_trio(
    arguments: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        with pytest.raises(error, match=message):
            await open_vmess_connection(*arguments)

    run_asyncio(main)


# Closing ------------------------------------------------------------------------------------------


def test_cancelling_leaves_nothing_open() -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.read(1024):
                    pass
            except ConnectionError:
                pass
            closed.set()
            await close(writer)

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            link = attrs.evolve(LINK, address="127.0.0.1", port=port, network="ws")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await open_vmess_connection(format_share_link(link), "a.example:80")
            await closed.wait()

    run_asyncio(main)


def test_closing_says_the_end_of_the_request() -> None:
    ended: queue.Queue[bytes] = queue.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.put(await reader.read())
        await close(writer)

    with server_in_thread() as server:

        async def main() -> None:
            async with await asyncio.start_server(serve, "127.0.0.1", 0) as origin:
                _, writer = await open_vmess_connection(
                    server.link, origin.sockets[0].getsockname()
                )
                writer.write(b"hello")
                await close(writer)
                assert writer.is_closing()
                writer.write(b"dropped")
                assert await asyncio.to_thread(ended.get) == b"hello"

        run_asyncio(main)


def test_a_websocket_is_not_half_closed_beneath_vmess() -> None:
    """The server's pings and its close frame are answered after the end of the request."""
    received: queue.Queue[list[bytes]] = queue.Queue()
    carrier = StreamSettings(carrier=WebSocketSettings(path="/tunnel"))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(accept_websocket(head))
        request = await reader.read(65_536)
        writer.write(b"\x89\x04ping")  # a frame that wants an answer
        answer = await reader.readexactly(10)
        received.put([request, answer])
        await close(writer)

    async def main() -> None:
        async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            link = share_link_outbound(attrs.evolve(LINK, address="127.0.0.1", port=port))
            outbound = attrs.evolve(link, stream=carrier)
            reader, writer = await open_vmess_connection(outbound, "a.example:80")
            writer.write_eof()
            with pytest.raises((RemoteProtocolError, ConnectionError)):
                await reader.read()
            writer.transport.abort()

    run_asyncio(main)
    request, answer = received.get(timeout=1)
    assert request
    assert answer[:2] == b"\x8a\x84"


def accept_websocket(head: bytes) -> bytes:
    """Return the answer to the request for a WebSocket."""
    server = UpgradeServer(UpgradeRules(path="/tunnel"))
    server.receive_data(head)
    event = server.next_event()
    assert isinstance(event, Upgraded)
    return event.answer


def test_nothing_can_be_written_after_the_end() -> None:
    with server_in_thread() as server:

        async def main() -> None:
            _, writer = await open_vmess_connection(server.link, server.origin)
            assert writer.can_write_eof()
            writer.write_eof()
            writer.write_eof()
            with pytest.raises(RuntimeError, match="after write_eof"):
                writer.write(b"x")
            await close(writer)

        run_asyncio(main)


def test_no_trio_is_loaded() -> None:
    code = f"""
import asyncio, sys
from trio_vmess.asyncio import open_vmess_connection
async def main():
    try:
        await open_vmess_connection({format_share_link(LINK)!r}, "b.example:0")
    except ValueError as exc:
        print(exc)
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    r, w = await open_vmess_connection(address, "b.example:80", account="{"0" * 32}")
    w.write(b"hello")
    try:
        await r.read()
    except Exception as exc:
        print(type(exc).__name__)
asyncio.run(main())
print([name for name in sys.modules if name.partition(".")[0] in ("trio", "anyio", "outcome")])
"""
    done = run_python("-c", code, limit=60)
    assert done.stdout.splitlines()[0].startswith("destination: 0 is not")
    assert done.stdout.splitlines()[1] in ("RemoteProtocolError", "ConnectionResetError")
    assert done.stdout.splitlines()[2] == "[]"
