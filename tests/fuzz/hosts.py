"""What holds for every host that a program may ask for, whatever protocol it speaks."""

from trio_vmess.core import NEED_DATA, Host, format_endpoint, parse_endpoint
from trio_vmess.core.socks import decode_datagram, encode_datagram
from trio_vmess.core.vmess import address as vmess_address


def check_host(host: Host) -> None:
    """Raise unless a host that a program may ask for stays the same, wherever it is written."""
    if parse_endpoint(format_endpoint(host, 443)) != (host, 443):
        raise ValueError(f"{host!r} and a port are not read as they were written")
    encoded = vmess_address.encode_address(host)
    found = vmess_address.decode_address(encoded, 0)
    if found is NEED_DATA or found[1] != len(encoded):
        raise ValueError(f"VMess writes {host!r} as {encoded!r}")
    if vmess_address.decode_host(encoded[0], encoded[found[0] :]) != host:
        raise ValueError(f"{host!r} does not survive VMess")
    destination = decode_datagram(encode_datagram(host, 53, b"")).destination
    if (destination.host, destination.port) != (host, 53):
        raise ValueError(f"{host!r} does not survive SOCKS")
