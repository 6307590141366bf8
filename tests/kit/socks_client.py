"""A small SOCKS client, to speak through proxies under test.

It trusts nothing it shares with the product: requests and replies are laid out here from the
public documents, so a mistake in the product's own codec cannot hide behind the same mistake.

Source:
    RFC 1928 (SOCKS5), RFC 1929 (user and password), the SOCKS4 and SOCKS4a protocol notes.
"""

import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from tests.kit.names import IPV4_LOOPBACK

_NO_LOGIN: Final = 0x00
_PASSWORD: Final = 0x02
_CONNECT: Final = 0x01
_ASSOCIATE: Final = 0x03
_GRANTED_4: Final = 0x5A
_MAX_DATAGRAM: Final = 65_535


class SocksError(Exception):
    """The proxy refused, hung up, or answered what SOCKS does not allow.

    Attributes:
        code: the reply byte when there was one, else None.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def encode_address(host: str, port: int) -> bytes:
    """Lay out address type, address and port as SOCKS5 wants them (RFC 1928 section 5)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return b"\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big")
    kind = b"\x01" if address.version == 4 else b"\x04"
    return kind + address.packed + port.to_bytes(2, "big")


def decode_address(data: bytes) -> tuple[str, int, bytes]:
    """Read address type, address and port; return host, port and what follows.

    Raises:
        SocksError: `data` is cut short or has an unknown address type.
    """
    sizes = {1: 4, 4: 16}
    if not data:
        raise SocksError("no address")
    if data[0] == 3 and len(data) > 1:
        start, size = 2, data[1]
    elif data[0] in sizes:
        start, size = 1, sizes[data[0]]
    else:
        raise SocksError(f"unknown address type {data[0]}")
    end = start + size
    if len(data) < end + 2:
        raise SocksError("address cut short")
    raw = data[start:end]
    host = raw.decode("ascii") if data[0] == 3 else str(ipaddress.ip_address(raw))
    return host, int.from_bytes(data[end : end + 2], "big"), data[end + 2 :]


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """Read `size` bytes and not one more.

    Raises:
        SocksError: the stream ended first.
    """
    received = bytearray()
    while len(received) < size:
        piece = await stream.receive_some(size - len(received))
        if not piece:
            raise SocksError(f"proxy hung up after {len(received)} of {size} bytes")
        received += piece
    return bytes(received)


async def read_on(stream: trio.abc.ReceiveStream) -> int:
    """Read to the end; return how many bytes came."""
    size = 0
    while data := await stream.receive_some():
        size += len(data)
    return size


async def _receive_reply(stream: trio.SocketStream) -> tuple[str, int]:
    head = await receive_exactly(stream, 5)
    if head[0] != 5:
        raise SocksError(f"reply has version {head[0]}")
    if head[1] != 0:
        raise SocksError(f"proxy refused with code {head[1]}", head[1])
    rest = {1: 3 + 2, 3: head[4] + 2, 4: 15 + 2}.get(head[3])
    if rest is None:
        raise SocksError(f"reply has address type {head[3]}")
    host, port, _ = decode_address(head[3:] + await receive_exactly(stream, rest))
    return host, port


async def _request(
    stream: trio.SocketStream,
    command: int,
    address: bytes,
    user: str | None,
    password: str | None,
) -> tuple[str, int]:
    method = _NO_LOGIN if user is None else _PASSWORD
    await stream.send_all(bytes((5, 1, method)))
    version, chosen = await receive_exactly(stream, 2)
    if version != 5 or chosen != method:
        raise SocksError(f"proxy chose method {chosen:#04x}, not {method:#04x}", chosen)
    if user is not None:
        name, secret = user.encode(), (password or "").encode()
        await stream.send_all(b"\x01" + bytes((len(name),)) + name + bytes((len(secret),)) + secret)
        _, status = await receive_exactly(stream, 2)
        if status != 0:
            raise SocksError(f"proxy refused the login with {status}", status)
    await stream.send_all(bytes((5, command, 0)) + address)
    return await _receive_reply(stream)


async def open_socks_stream(
    proxy_port: int,
    host: str,
    port: int,
    user: str | None = None,
    password: str | None = None,
    *,
    proxy_host: str = IPV4_LOOPBACK,
) -> trio.SocketStream:
    """Connect to host and port through a SOCKS5 proxy; the stream carries the target's bytes.

    Raises:
        SocksError: the proxy refused or hung up. The stream to the proxy is closed.
        OSError: the proxy itself could not be reached.
    """
    stream = await trio.open_tcp_stream(proxy_host, proxy_port)
    try:
        await _request(stream, _CONNECT, encode_address(host, port), user, password)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def open_socks4_stream(
    proxy_port: int,
    host: str,
    port: int,
    user: str = "",
    *,
    proxy_host: str = IPV4_LOOPBACK,
) -> trio.SocketStream:
    """Connect through a SOCKS4 proxy; a host that is not an IPv4 address is sent as in SOCKS4a.

    Raises:
        SocksError: the proxy refused or hung up. The stream to the proxy is closed.
        OSError: the proxy itself could not be reached.
    """
    try:
        address, name = ipaddress.IPv4Address(host).packed, b""
    except ValueError:
        address, name = b"\x00\x00\x00\x01", host.encode("ascii") + b"\x00"
    stream = await trio.open_tcp_stream(proxy_host, proxy_port)
    try:
        await stream.send_all(
            bytes((4, _CONNECT))
            + port.to_bytes(2, "big")
            + address
            + user.encode("ascii")
            + b"\x00"
            + name
        )
        reply = await receive_exactly(stream, 8)
        if reply[0] != 0 or reply[1] != _GRANTED_4:
            raise SocksError(f"proxy refused with code {reply[1]}", reply[1])
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


@attrs.define(eq=False)
class SocksUdpAssociation:
    """A UDP association with a SOCKS5 proxy; made by `open_socks_udp`.

    The proxy drops it when the TCP connection that asked for it ends.

    Attributes:
        control: that TCP connection.
        relay: host and port the proxy receives datagrams on.
    """

    control: trio.SocketStream
    relay: tuple[str, int]
    _socket: trio.socket.SocketType

    async def send_to(self, host: str, port: int, data: bytes) -> None:
        """Send one datagram to host and port through the proxy."""
        packet = b"\x00\x00\x00" + encode_address(host, port) + data
        await self._socket.sendto(packet, self.relay)

    async def receive(self) -> tuple[str, int, bytes]:
        """Return the next datagram's origin host, origin port and payload.

        Raises:
            SocksError: what was received is not an unfragmented SOCKS5 datagram.
        """
        packet, _ = await self._socket.recvfrom(_MAX_DATAGRAM)
        if packet[:3] != b"\x00\x00\x00":
            raise SocksError(f"datagram begins with {packet[:3].hex()}")
        return decode_address(packet[3:])


@asynccontextmanager
async def open_socks_udp(
    proxy_port: int,
    user: str | None = None,
    password: str | None = None,
    *,
    proxy_host: str = IPV4_LOOPBACK,
) -> AsyncIterator[SocksUdpAssociation]:
    """Ask a SOCKS5 proxy for a UDP association; leaving the block ends it.

    Raises:
        SocksError: the proxy refused or hung up.
        OSError: the proxy itself could not be reached.
    """
    family = socket.AF_INET6 if ":" in proxy_host else socket.AF_INET
    unspecified = "::" if ":" in proxy_host else "0.0.0.0"
    async with await trio.open_tcp_stream(proxy_host, proxy_port) as control:
        with trio.socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            await datagrams.bind((proxy_host, 0))
            host, port = await _request(
                control, _ASSOCIATE, encode_address(unspecified, 0), user, password
            )
            # "All zeros" in the reply means the address the request was sent to.
            relay_host = proxy_host if ipaddress.ip_address(host).is_unspecified else host
            yield SocksUdpAssociation(control, (relay_host, port), datagrams)
