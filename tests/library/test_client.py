"""What programs import: a node in their nursery, and streams through it."""

import secrets
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from tests.kit.certificates import write_certificate
from tests.kit.one_server import ACCOUNT, LINK, LOOPBACK, running_server
from tests.kit.ports import free_port
from trio_vmess import (
    Account,
    ConfigError,
    Destination,
    DialError,
    LocalProtocolError,
    open_vmess_stream,
    serve,
)
from trio_vmess.config import (
    CarrierSettings,
    CertificateSettings,
    HttpHeaderSettings,
    HttpUpgradeSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    UnixSocket,
    WebSocketSettings,
    format_share_link,
    share_link_outbound,
)
from trio_vmess.core import Network
from trio_vmess.core.vmess import SECURITY_WORDS, format_user_id

NAME: Final = "server.example"


async def check_echo(stream: trio.abc.HalfCloseableStream) -> None:
    """Send something, get it back, and half-close."""
    await stream.send_all(b"hello")
    assert await stream.receive_some() == b"hello"
    await stream.send_eof()
    assert await stream.receive_some() == b""


# Through a server ---------------------------------------------------------------------------------


async def test_a_stream_by_host_port_and_account() -> None:
    async with (
        running_server() as server,
        open_vmess_stream(
            ("127.0.0.1", server.port), ("127.0.0.1", server.origin_port), account=ACCOUNT
        ) as stream,
    ):
        await check_echo(stream)


async def test_a_stream_by_two_texts_and_a_user_id() -> None:
    async with (
        running_server() as server,
        open_vmess_stream(
            f"127.0.0.1:{server.port}",
            f"127.0.0.1:{server.origin_port}",
            account=format_user_id(ACCOUNT.user_id),
        ) as stream,
    ):
        await check_echo(stream)


async def test_a_stream_by_share_link() -> None:
    async with (
        running_server() as server,
        open_vmess_stream(server.link, f"127.0.0.1:{server.origin_port}") as stream,
    ):
        await check_echo(stream)


@pytest.mark.parametrize("security", ["aes-128-gcm", "chacha20-poly1305", "none", "zero"])
async def test_each_security(security: str) -> None:
    async with running_server() as server:
        target = Destination(host=LOOPBACK, port=server.origin_port)
        async with open_vmess_stream(server.link, target, security=security) as stream:
            await check_echo(stream)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "carrier",
    [
        TcpSettings(),
        TcpSettings(header=HttpHeaderSettings()),
        WebSocketSettings(path="/tunnel", max_early_data=2048),
        HttpUpgradeSettings(path="/tunnel"),
    ],
    ids=["tcp", "camouflage", "ws", "httpupgrade"],
)
async def test_an_outbound_brings_its_transport(
    tmp_path: Path, carrier: CarrierSettings, is_secure: bool
) -> None:
    files = write_certificate(tmp_path, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    root = CertificateSettings(certificate_file=str(files.root))
    ends = (TlsSettings(certificates=(own,)), TlsSettings(server_name=NAME, roots=(root,)))
    for_server, for_client = (
        StreamSettings(carrier=carrier, tls=tls if is_secure else None) for tls in ends
    )
    async with running_server(for_server) as server:
        outbound = server.outbound(for_client)
        for _ in range(2):
            async with open_vmess_stream(outbound, ("127.0.0.1", server.origin_port)) as stream:
                await stream.wait_send_all_might_not_block()
                await check_echo(stream)


async def test_a_share_link_brings_its_transport() -> None:
    carried = StreamSettings(carrier=WebSocketSettings(path="/tunnel"))
    async with running_server(carried) as server:
        link = server.link_with(network="ws", path="/tunnel")
        async with open_vmess_stream(link, ("127.0.0.1", server.origin_port)) as stream:
            await check_echo(stream)


async def test_a_server_that_is_not_who_it_should_be_is_a_dial_error(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, NAME)
    own = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    async with running_server(StreamSettings(tls=TlsSettings(certificates=(own,)))) as server:
        opening = open_vmess_stream(server.link_with(tls="tls", sni=NAME), "a.example:80")
        with pytest.raises(DialError, match="certificate"):
            async with opening:
                raise AssertionError("nobody vouches for this server")


async def test_an_outbound_may_lead_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    outbound = attrs.evolve(share_link_outbound(LINK), stream=StreamSettings(unix=UnixSocket(path)))
    with pytest.raises(DialError, match="there is no such socket"):
        async with open_vmess_stream(outbound, "a.example:80"):
            raise AssertionError("there is no server")


async def test_leaving_the_block_by_an_exception_closes_the_connection() -> None:
    async with running_server() as server:
        with pytest.raises(KeyError):
            async with open_vmess_stream(server.link, ("127.0.0.1", server.origin_port)) as stream:
                raise KeyError
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


# Refusals -----------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_a_dial_error() -> None:
    opening = open_vmess_stream(("127.0.0.1", free_port()), "a.example:80", account=ACCOUNT)
    with pytest.raises(DialError, match="Connection refused"):
        async with opening:
            raise AssertionError("there is no server")


async def test_a_destination_that_is_not_reached_breaks_the_stream() -> None:
    async with (
        running_server() as server,
        open_vmess_stream(server.link, ("127.0.0.1", free_port())) as stream,
    ):
        await stream.send_all(b"hello")
        with pytest.raises(
            trio.BrokenResourceError, match="closed the connection without an answer"
        ):
            await stream.receive_some()


async def test_an_unknown_user_gets_silence() -> None:
    stranger = Account(user_id=secrets.token_bytes(16))
    async with (
        running_server() as server,
        open_vmess_stream(("127.0.0.1", server.port), "a.example:80", account=stranger) as stream,
    ):
        await stream.send_all(b"hello")
        with trio.move_on_after(0.1) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught


async def test_a_destination_without_a_legal_form_leaves_nothing_open() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        target = Destination(host="not a domain", port=80)
        opening = open_vmess_stream(("127.0.0.1", port), target, account=ACCOUNT)
        with pytest.raises(LocalProtocolError, match="domain"):
            async with opening:
                raise AssertionError("there is no such destination")
        async with await listener.accept() as stream:
            assert not await stream.receive_some()


# Arguments: what is wrong shows in the call, before anything is opened ----------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "kcp"}, r"^net: the transport 'kcp' is not supported"),
        ({"tls": "reality"}, r"^tls: REALITY is not supported"),
        ({"header_type": "srtp"}, r"^type: unknown type 'srtp'"),
        ({"network": "grpc"}, r"^net: HTTP/2 and gRPC .* takes a node"),
    ],
)
def test_a_link_with_an_unsupported_transport_names_it(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_vmess_stream(format_share_link(attrs.evolve(LINK, **changes)), "a.example:80")


@pytest.mark.parametrize("text", ["example.com:443", "vless://x@example.com:443", "vmess://???"])
def test_a_text_that_is_not_a_share_link_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a valid share link"):
        open_vmess_stream(text, "a.example:80")


@pytest.mark.parametrize(
    ("server", "options", "error", "message"),
    [
        (
            ("a.example", 443),
            {},
            TypeError,
            "account: with host and port, an Account or a user id is required",
        ),
        (
            "a.example:443",
            {"account": 7},
            TypeError,
            "account: expected an Account or a user id, not int",
        ),
        (
            "a.example:443",
            {"account": ""},
            ValueError,
            "account: user_id: the user id is empty; expected a UUID",
        ),
        (
            "a.example",
            {"account": ACCOUNT},
            ValueError,
            "server: this text is neither a share link nor 'host:port'",
        ),
        (
            "a.example:http",
            {"account": ACCOUNT},
            ValueError,
            "server: 'a.example:http': 'http' is not a valid port: expected 0 to 65535",
        ),
        (
            format_share_link(LINK).removeprefix("vmess://"),
            {"account": ACCOUNT},
            ValueError,
            "server: this text is neither a share link nor 'host:port'",
        ),
        (
            f"{LINK.uuid}@a.example:443",
            {"account": ACCOUNT},
            TypeError,
            (
                "account cannot be combined with a share link, which names its user; "
                "for another user, pass the server as (host, port)"
            ),
        ),
        (
            format_share_link(LINK),
            {"dialect": "v2ray"},
            TypeError,
            "dialect: expected a Dialect, not str",
        ),
        (
            format_share_link(LINK),
            {"account": ACCOUNT},
            TypeError,
            (
                "account cannot be combined with a share link, which names its user; "
                "for another user, pass the server as (host, port)"
            ),
        ),
        (
            LINK,
            {"account": ACCOUNT},
            TypeError,
            (
                "server: expected a share link, an outbound, (host, port) or 'host:port', "
                "not ShareLink"
            ),
        ),
        (
            ("a.example", "443"),
            {"account": ACCOUNT},
            TypeError,
            (
                "server: expected a share link, an outbound, (host, port) or 'host:port', "
                "not (str, str)"
            ),
        ),
        (
            ("a.example", 0),
            {"account": ACCOUNT},
            ValueError,
            "server: 0 is not a valid port: expected 1 to 65535",
        ),
        (
            format_share_link(LINK),
            {"security": "rot13"},
            ValueError,
            f"security: 'rot13' is not one of {', '.join(SECURITY_WORDS)}",
        ),
    ],
)
def test_a_wrong_server_is_refused_by_the_call(
    server: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        open_vmess_stream(server, "a.example:80", **options)
    assert str(caught.value) == message
    # A chained error would be printed, too, and might show what this one does not.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("destination", "error", "message"),
    [
        (
            443,
            TypeError,
            "destination: expected a Destination, (host, port) or 'host:port', not int",
        ),
        (
            (443, "a.example"),
            TypeError,
            "destination: expected a Destination, (host, port) or 'host:port', not (int, str)",
        ),
        (
            ("a.example", 70_000),
            ValueError,
            "destination: 70000 is not a valid port: expected 1 to 65535",
        ),
        (("", 80), ValueError, "destination: a domain name"),
        ("a.example", ValueError, "destination: 'a.example': the port is missing"),
        ("a.example:http", ValueError, "destination: 'a.example:http': 'http' is not a valid port"),
        ("a.example:0", ValueError, "destination: 0 is not a valid port: expected 1 to 65535"),
        ("2001:db8::1:443", ValueError, "brackets"),
        (
            Destination(host="a.example", port=53, network=Network.UDP),
            ValueError,
            "destination: udp:a.example:53 is for datagrams; a stream needs TCP",
        ),
    ],
)
def test_a_wrong_destination_is_refused_by_the_call(
    destination: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        open_vmess_stream(format_share_link(LINK), destination)
    assert message in str(caught.value)
    assert ACCOUNT.user_id.hex() not in str(caught.value).replace("-", "")


async def test_what_is_not_a_configuration_is_refused() -> None:
    with pytest.raises(TypeError, match=r"config: expected a Config, .*, not str"):
        await serve("node.toml")  # type: ignore[arg-type]
