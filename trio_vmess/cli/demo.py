"""A server, a client and a web page on loopback: what `trio-vmess demo` runs."""

import functools
import ipaddress
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import trio

from trio_vmess.config import (
    LogSettings,
    SecurityName,
    client_config,
    parse_share_link,
    server_config,
    server_share_link,
    share_link_outbound,
)
from trio_vmess.core import parse_endpoint
from trio_vmess.node import Node

LOOPBACK: Final = ipaddress.IPv4Address("127.0.0.1")
PAGE: Final = b"Hello through VMess.\n"
_REQUEST_MAX: Final = 8192


async def serve_page(stream: trio.SocketStream) -> None:
    """Answer one HTTP request of any kind with a page."""
    request = b""
    while b"\r\n\r\n" not in request and len(request) < _REQUEST_MAX:
        data = await stream.receive_some()
        if not data:
            return
        request += data
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        f"Content-Length: {len(PAGE)}\r\n\r\n"
    )
    await stream.send_all(head.encode("ascii") + PAGE)


async def start_demo(
    nodes: trio.Nursery, background: trio.Nursery, say: Callable[[str], None]
) -> Sequence[Node]:
    """Start both nodes and the page, and say which commands to try.

    Args:
        nodes: the nodes run in this nursery.
        background: the page is served in this one, until the nodes have ended.
        say: writes a line to standard output.

    Returns:
        The nodes, the server first.
    """
    serve = functools.partial(trio.serve_tcp, serve_page, 0, host=str(LOOPBACK))
    (page,) = await background.start(serve, name="web page")
    page_port = page.socket.getsockname()[1]
    user_id, log = secrets.token_bytes(16), LogSettings(access="")
    server: Node = await nodes.start(
        Node(
            server_config(listen=LOOPBACK, port=0, user_id=user_id, allow_private=True, log=log)
        ).run,
        name="server",
    )
    link = server_share_link(
        host=LOOPBACK,
        port=parse_endpoint(server.listening[0].address)[1],
        user_id=user_id,
        alter_id=0,
        security=SecurityName.AUTO,
        name="demo",
    )
    client: Node = await nodes.start(
        Node(
            client_config(
                outbound=share_link_outbound(parse_share_link(link), tag="proxy"),
                socks=(LOOPBACK, 0),
                http=(LOOPBACK, 0),
                log=log,
            )
        ).run,
        name="client",
    )
    say(f"server: {server.listening[0].address}, as {link}")
    for each in client.listening:
        scheme = "socks5h" if each.protocol == "socks" else "http"
        say(f"try:    curl -x {scheme}://{each.address} http://127.0.0.1:{page_port}/")
    say("stop:   Ctrl-C")
    return server, client
