"""X-Forwarded-For: whom a web server in front speaks for, if it can be believed."""

from collections.abc import Callable, Iterable
from typing import Final

from trio_vmess.core.destination import IPAddress, parse_endpoint, parse_host

_ELEMENT_COUNT_MAX: Final = 32


def is_loopback(address: IPAddress) -> bool:
    """Trust the machine itself: `find_client` with a web server in front and nothing before it."""
    return address.is_loopback


def find_client(
    values: Iterable[str], *, is_trusted: Callable[[IPAddress], bool] = is_loopback
) -> IPAddress | None:
    """Return the address of the client.

    Each proxy adds the address that it was connected from, so what stands on the left of the last
    proxy that is ours may be anybody's invention. V2Ray takes the first address all the same.
    This reads from the right, over the proxies that are trusted, up to the first that is not.

    Call it only where the connection itself comes from a trusted proxy or over a Unix socket.

    Args:
        values: those of the headers of this name, in their order; addresses in them may have a
            port.
        is_trusted: whether an address is that of a proxy of ours, or of a CDN's.

    Returns:
        The address; the leftmost where all are trusted; None where there is none, or where a proxy
        does not tell (`unknown`).
    """
    elements = [element.strip() for value in values for element in value.split(",")]
    found = None
    for element in reversed(elements[-_ELEMENT_COUNT_MAX:]):
        address = _parse(element)
        if address is None:
            return None
        found = address
        if not is_trusted(address):
            break
    return found


def _parse(element: str) -> IPAddress | None:
    is_bare_ipv6 = element.count(":") > 1 and not element.startswith("[")
    try:
        host = parse_host(element) if is_bare_ipv6 else parse_endpoint(element, default_port=0)[0]
    except ValueError:
        return None
    return None if isinstance(host, str) else host
