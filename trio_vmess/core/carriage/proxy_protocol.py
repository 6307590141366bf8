"""The PROXY protocol: by it, a proxy in front tells a server whom it speaks for.

Two forms, which are told apart by their first bytes. Anybody who reaches the port can claim any
address with them, so it is for ports that only proxies reach.

    PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 CRLF                           at most 107 bytes
    signature 12 | version 4 = 2, command 4 | family 4, transport 4 | length 16 || addresses || TLVs

Source:
    haproxy, doc/proxy-protocol.txt.
"""

import ipaddress
import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from trio_vmess.core.buffer import NEED_DATA, NeedData
from trio_vmess.core.destination import Destination, Host, IPAddress, unmap
from trio_vmess.errors import RemoteProtocolError

V1_SIZE_MAX: Final = 107
"""Bytes, CRLF included."""

V2_SIZE_MAX: Final = 4096
"""Bytes; the form itself would allow 65551. What proxies add about TLS takes some hundred."""

_V1_START: Final = b"PROXY "
_V2_START: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1_FAMILIES: Final[Mapping[str, Callable[[str], IPAddress]]] = {
    "TCP4": ipaddress.IPv4Address,
    "TCP6": ipaddress.IPv6Address,
}
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_PORT_MAX: Final = 0xFFFF

_V2_HEAD: Final = struct.Struct(">12sBBH")
_V2_IPV4: Final = struct.Struct(">4s4sHH")
_V2_IPV6: Final = struct.Struct(">16s16sHH")
_VERSION_2: Final = 0x20
_LOCAL: Final = 0x0
_PROXY: Final = 0x1
_UNSPEC: Final = 0x0
_STREAM: Final = 0x1
_TRANSPORT_MAX: Final = 0x2
_INET: Final = 0x1
_INET6: Final = 0x2
_UNIX: Final = 0x3
_UNIX_SIZE: Final = 216
_ADDRESSES: Final = {_UNSPEC: 0, _INET: _V2_IPV4.size, _INET6: _V2_IPV6.size, _UNIX: _UNIX_SIZE}
"""Bytes of addresses, by family."""


@attrs.frozen(kw_only=True)
class ProxyHeader:
    """What a proxy says about a connection.

    Attributes:
        source: the client; None where the proxy does not say, or speaks for itself, as in health
            checks: then the address of the connection counts.
        destination: where the client has connected to, likewise.
    """

    source: Destination | None = None
    destination: Destination | None = None


class ProxyHeaderReader:
    """Reads the header in front of a connection, of either form."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._size: int | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store what was received."""
        self._received += data

    def next_event(self) -> ProxyHeader | NeedData:
        """Return the header, once; `NEED_DATA` before it is whole and ever after.

        Raises:
            RemoteProtocolError: there is none, or one that is malformed; each further call raises
                it again.
        """
        if self._size is not None:
            return NEED_DATA
        found = _read(bytes(self._received[:V2_SIZE_MAX]))
        if found is NEED_DATA:
            return NEED_DATA
        header, self._size = found
        return header

    @property
    def trailing_data(self) -> bytes:
        """What has come behind the header."""
        return bytes(self._received[self._size or 0 :])


def encode_proxy_v1(source: Destination | None, destination: Destination | None) -> bytes:
    """Write the text form.

    Args:
        source: the client; None, or a host that is no address, says nothing about it.
        destination: where the client has connected to, likewise.
    """
    addresses = _same_family(source, destination)
    if addresses is None:
        return b"PROXY UNKNOWN\r\n"
    (host, port), (other, other_port) = addresses
    return f"PROXY TCP{host.version} {host} {other} {port} {other_port}\r\n".encode()


def encode_proxy_v2(source: Destination | None, destination: Destination | None) -> bytes:
    """Write the binary form; see `encode_proxy_v1`.

    Nothing to say is a LOCAL header: V2Ray and Xray refuse a PROXY header without addresses.
    """
    addresses = _same_family(source, destination)
    if addresses is None:
        return _V2_HEAD.pack(_V2_START, _VERSION_2 | _LOCAL, _UNSPEC, 0)
    (host, port), (other, other_port) = addresses
    family, form = (_INET, _V2_IPV4) if host.version == 4 else (_INET6, _V2_IPV6)
    head = _V2_HEAD.pack(_V2_START, _VERSION_2 | _PROXY, family << 4 | _STREAM, form.size)
    return head + form.pack(host.packed, other.packed, port, other_port)


_Endpoint = tuple[IPAddress, int]


def _same_family(
    source: Destination | None, destination: Destination | None
) -> tuple[_Endpoint, _Endpoint] | None:
    """Return both addresses, as IPv6 where they are of two families; None without both."""
    if source is None or destination is None:
        return None
    host, other = source.host, destination.host
    if isinstance(host, str) or isinstance(other, str):
        return None
    if host.version != other.version:
        host, other = _mapped(host), _mapped(other)
    return (host, source.port), (other, destination.port)


def _mapped(address: IPAddress) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _read(data: bytes) -> tuple[ProxyHeader, int] | NeedData:
    """Read a header from the beginning of a connection; return it and its size.

    Raises:
        RemoteProtocolError: there is none.
    """
    if data[: len(_V1_START)] == _V1_START[: len(data)]:
        return _read_v1(data)
    if data[: len(_V2_START)] == _V2_START[: len(data)]:
        return _read_v2(data)
    raise RemoteProtocolError(
        f"no PROXY header ({data[:8].hex(' ')}): does the proxy in front send one?"
    )


def _read_v1(data: bytes) -> tuple[ProxyHeader, int] | NeedData:
    size = data.find(b"\n", 0, V1_SIZE_MAX) + 1
    if not size:
        if len(data) >= V1_SIZE_MAX:
            raise RemoteProtocolError(f"PROXY header: more than {V1_SIZE_MAX} bytes")
        return NEED_DATA
    if not data.endswith(b"\r\n", 0, size):
        raise RemoteProtocolError("PROXY header: its line does not end in CRLF")
    line = data[: size - 2].decode("ascii", "backslashreplace")
    fields = line.split(" ")
    if fields[1] == "UNKNOWN":
        return ProxyHeader(), size
    try:
        _, family, host, other, port, other_port = fields
        address = _V1_FAMILIES[family]
        header = ProxyHeader(
            source=Destination(host=_plain(address(host)), port=_parse_port(port)),
            destination=Destination(host=_plain(address(other)), port=_parse_port(other_port)),
        )
    except (ValueError, KeyError):
        raise RemoteProtocolError(f"PROXY header: {line!r} is malformed") from None
    return header, size


def _plain(address: IPAddress) -> Host:
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone")
    return unmap(address)


def _parse_port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > _PORT_MAX:
        raise ValueError("not a port")
    return int(text)


def _read_v2(data: bytes) -> tuple[ProxyHeader, int] | NeedData:
    # What can be judged is judged, so that nobody waits for the rest of nonsense.
    position = len(_V2_START)
    if len(data) <= position:
        return NEED_DATA
    command = data[position] ^ _VERSION_2
    if command not in (_LOCAL, _PROXY):
        raise RemoteProtocolError(f"PROXY header: unknown version or command {data[position]:#04x}")
    if len(data) < _V2_HEAD.size:
        return NEED_DATA
    _, _, kind, length = _V2_HEAD.unpack_from(data)
    family, transport = kind >> 4, kind & 0x0F
    size = _V2_HEAD.size + length
    if size > V2_SIZE_MAX:
        raise RemoteProtocolError(f"PROXY header: {size} bytes; the limit is {V2_SIZE_MAX}")
    if command == _PROXY:
        if family not in _ADDRESSES or transport > _TRANSPORT_MAX:
            raise RemoteProtocolError(f"PROXY header: unknown family or transport {kind:#04x}")
        if length < _ADDRESSES[family]:
            raise RemoteProtocolError(f"PROXY header: no room for addresses in {length} bytes")
    if len(data) < size:
        return NEED_DATA
    # Behind the addresses there may be more (TLVs): about TLS, or for other servers.
    if command == _LOCAL or family not in (_INET, _INET6):
        return ProxyHeader(), size
    form, address = (
        (_V2_IPV4, ipaddress.IPv4Address) if family == _INET else (_V2_IPV6, ipaddress.IPv6Address)
    )
    host, other, port, other_port = form.unpack_from(data, _V2_HEAD.size)
    header = ProxyHeader(
        source=Destination(host=unmap(address(host)), port=port),
        destination=Destination(host=unmap(address(other)), port=other_port),
    )
    return header, size
