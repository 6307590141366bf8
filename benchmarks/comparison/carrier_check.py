"""Whether a client uses the carrier that it is told to: what it sends is looked at.

A program that ignores a key of its configuration speaks bare VMess, and would be measured as if it
did more. Its server need not be asked: it understands the client, or nothing arrives.
"""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from benchmarks.comparison.carriers import Carried
from tests.kit.carriers import SERVER_NAME, CarrierSpec, Network
from tests.kit.certificates import issue
from tests.kit.names import IPV4_LOOPBACK
from tests.kit.ports import free_port
from trio_vmess.bench import BenchError, Child, Implementation, Pair, Setup

_LIMIT: Final = 10.0
"""Seconds for each step."""
_READ_SIZE: Final = 8192
_ACCEPT_SALT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_GET: Final = b"GET "
_HEAD_END: Final = b"\r\n\r\n"
_TLS_RECORD: Final = b"\x16"
# Asks for a connection and sends at once, because some clients dial only when there is payload.
_SOCKS_CALL: Final = b"\x05\x01\x00"
_SOCKS_REQUEST: Final = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x09"
_PAYLOAD: Final = bytes(64)


def check_carrier_of(pair: Pair) -> None:
    """Look at what the client of a pair sends, before the start; see `check_carrier`."""
    if pair.client is not None:
        check_carrier(pair.client, pair.setup, pair.folder)


def check_carrier(client: Implementation, setup: Setup, folder: Path) -> None:
    """Run a client for a moment, with ourselves as its server.

    Args:
        client: whose client.
        setup: its configuration; without a carrier, there is nothing to see.
        folder: for the configuration.

    Raises:
        BenchError: it does not start, does not connect, or sends something else.
    """
    if not isinstance(setup.carrier, Carried):
        return
    spec = setup.carrier.spec
    with socket.create_server((IPV4_LOOPBACK, 0)) as listener, contextlib.ExitStack() as stack:
        listener.settimeout(_LIMIT)
        proxy, server = free_port(), listener.getsockname()[1]
        path = folder / "checked-client.json"
        path.write_text(json.dumps(client.write_client(setup, server, proxy)), encoding="utf-8")
        name = f"{client.name} client over {spec}"
        child = Child(name, [*client.command, str(path)], client.environment)
        stack.callback(child.stop)
        child.wait_until_accepting(proxy)
        try:
            caller = stack.enter_context(socket.create_connection((IPV4_LOOPBACK, proxy), _LIMIT))
            caller.sendall(_SOCKS_CALL)
            caller.recv(2)
            caller.sendall(_SOCKS_REQUEST + _PAYLOAD)
            called, _ = listener.accept()
            called.settimeout(_LIMIT)
            fault = _find_fault(stack.enter_context(called), spec)
        except (OSError, h2.exceptions.ProtocolError) as exc:
            fault = f"{type(exc).__name__}: {exc}"
        if fault:
            raise BenchError(child.explain(f"was looked at: {fault}"))


def _find_fault(called: socket.socket, carrier: CarrierSpec) -> str:
    """Return what is wrong with a client's connection; empty if it is as it should be.

    Raises:
        OSError: it ends or goes wrong; `ssl.SSLError` is one.
        h2.exceptions.ProtocolError: it is no HTTP/2.
    """
    has_tls = called.recv(1, socket.MSG_PEEK) == _TLS_RECORD
    if has_tls != carrier.tls:
        return "TLS without being told to" if has_tls else "no TLS"
    check = _CHECKS[carrier.network]
    if not has_tls:
        return check(called, carrier)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"] if check is _check_http2 else ["http/1.1"])
    issue(SERVER_NAME).configure_cert(context)
    with context.wrap_socket(called, server_side=True) as inside:
        return check(inside, carrier)


def _check_tcp(stream: socket.socket, _carrier: CarrierSpec) -> str:
    first = stream.recv(_READ_SIZE)
    return "HTTP inside" if b" HTTP/" in first or not first else ""


def _check_upgrade(stream: socket.socket, carrier: CarrierSpec) -> str:
    head = _read_head(stream)
    line, *lines = head.split("\r\n")
    fields = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
    }
    if line != f"GET {carrier.path} HTTP/1.1" or fields.get("upgrade", "").lower() != "websocket":
        return f"not the request of a tunnel: {line!r}"
    if carrier.network == "httpupgrade":
        return ""
    if carrier.early_data:
        return "" if fields.get(carrier.early_data_header.lower()) else "no early data"
    key = fields.get("sec-websocket-key", "").encode()
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_SALT, usedforsecurity=False).digest())
    stream.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    first, second = stream.recv(1), stream.recv(1)
    is_frame = first in (b"\x02", b"\x82") and second[0] & 0x80
    return "" if is_frame else f"not a masked frame: {(first + second).hex()}"


def _read_head(stream: socket.socket) -> str:
    head = b""
    # What does not begin like a head may have no end that could be waited for.
    while _GET.startswith(head[: len(_GET)]) and not head.endswith(_HEAD_END):
        byte = stream.recv(1)
        if not byte:
            break
        head += byte
    return head.decode("latin-1")


def _check_http2(stream: socket.socket, carrier: CarrierSpec) -> str:
    headers = _read_request(stream)
    is_call = headers.get("content-type", "").startswith("application/grpc")
    path = f"/{carrier.service_name}/Tun" if carrier.network == "grpc" else carrier.path
    if headers.get(":path") != path or is_call != (carrier.network == "grpc"):
        return f"not the request of a tunnel: {headers}"
    return ""


def _read_request(stream: socket.socket) -> dict[str, str]:
    settings = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    link = h2.connection.H2Connection(settings)
    link.initiate_connection()
    stream.sendall(link.data_to_send())
    while data := stream.recv(_READ_SIZE):
        for event in link.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                return {str(name): str(value) for name, value in event.headers}
        stream.sendall(link.data_to_send())
    return {}


_CHECKS: Final[Mapping[Network, Callable[[socket.socket, CarrierSpec], str]]] = {
    "tcp": _check_tcp,
    "ws": _check_upgrade,
    "httpupgrade": _check_upgrade,
    "h2": _check_http2,
    "grpc": _check_http2,
}
