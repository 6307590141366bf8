"""Where a connection is to go: network, host and port, parsed and printed."""

import enum
import ipaddress
from typing import Final

import attrs

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

Host = IPAddress | str
"""An IP address, or a domain name as text. A text that spells an IP address is never a `Host`."""

PORT_MAX: Final = 0xFFFF


class Network(enum.Enum):
    """The transport that a destination is reached by."""

    TCP = "tcp"
    UDP = "udp"

    def __str__(self) -> str:
        return self.value


def parse_host(text: str) -> Host:
    """Read a host as people and protocols write it.

    Args:
        text: an IPv4 address, an IPv6 address with or without brackets, or a domain name. An
            IPv4-mapped IPv6 address becomes the IPv4 address. A name with letters outside ASCII
            becomes its punycode form.

    Raises:
        ValueError: the text is empty, longer than 255 bytes, or cannot be a name.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    # Only a text that ends in a digit or holds a colon can spell an address: skip the costly try.
    if bare[-1:].isdigit() or ":" in bare:
        try:
            return unmap(ipaddress.ip_address(bare))
        except ValueError:
            if bare is not text or ":" in bare:
                raise ValueError(f"{text!r} is not a valid IP address") from None
    elif bare is not text:
        raise ValueError(f"{text!r}: only an IPv6 address can be in brackets")
    if not bare.isascii():
        try:
            bare = bare.encode("idna").decode("ascii")
        except UnicodeError as exc:
            raise ValueError(f"{text!r} is not a valid domain name: {exc}") from None
    if not 0 < len(bare) <= 255:
        raise ValueError(f"a domain name must have 1 to 255 bytes, not {len(bare)}")
    return bare


def unmap(address: IPAddress) -> Host:
    """Return the IPv4 address inside `::ffff:a.b.c.d`, and any other address as it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def format_endpoint(host: Host, port: int) -> str:
    """Write `host:port`, with brackets around IPv6."""
    if isinstance(host, ipaddress.IPv6Address):
        return f"[{host}]:{port}"
    return f"{host}:{port}"


def parse_endpoint(text: str, *, default_port: int | None = None) -> tuple[Host, int]:
    """Read `host:port`, the inverse of `format_endpoint`.

    Args:
        text: as in `example.com:443`, `192.0.2.1:80` or `[2001:db8::1]:53`.
        default_port: used where the text has none; None makes the port mandatory.

    Raises:
        ValueError: with a sentence about the mistake.
    """
    if text.startswith("["):
        name, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: expected [IPv6]:port")
        name, port_text = name + "]", rest[1:] if rest else None
    elif text.count(":") > 1:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [address]:port")
    else:
        name, colon, tail = text.partition(":")
        port_text = tail if colon else None
    if port_text is None:
        if default_port is None:
            raise ValueError(f"{text!r}: the port is missing")
        return parse_host(name), default_port
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= PORT_MAX):
        raise ValueError(f"{text!r}: {port_text!r} is not a valid port: expected 0 to {PORT_MAX}")
    return parse_host(name), int(port_text)


@attrs.frozen(kw_only=True)
class Destination:
    """Where a connection or a datagram is to go.

    Attributes:
        host: an IP address, or a domain name.
        port: 0 to 65535; 0 is legal on the wire, but nothing can be reached there.
        network: TCP by default.
    """

    host: Host
    port: int
    network: Network = Network.TCP

    def __str__(self) -> str:
        return f"{self.network.value}:{format_endpoint(self.host, self.port)}"
