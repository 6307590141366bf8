"""Dialling: from a destination to a connected socket.

An IP address is dialled directly. A name is resolved, and its addresses are raced as in RFC 8305
("Happy Eyeballs"): address families alternate, and the next attempt starts when the previous one
has failed or has run for a quarter of a second. Each address is checked by the caller's `permit`
before it is dialled, so permission depends on the address and never on the name.
"""

import errno
import functools
import ipaddress
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from trio_vmess.contracts import Resolve
from trio_vmess.core import Host, IPAddress, format_endpoint
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.transport.socket_options import SocketOption, set_options
from trio_vmess.transport.tcp import SocketTransport
from trio_vmess.transport.udp import DatagramSocket

Refuse = Callable[[IPAddress], str | None]
"""Says why an address must not be dialled; None where it may be."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds between two attempts: RFC 8305 section 5, "Connection Attempt Delay"."""

DIAL_TIMEOUT: Final = 16.0
"""Seconds for all attempts together. Source: v2ray-core, transport/internet/system_dialer.go."""

_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)

_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EINVAL})
"""Codes of `connect_ex` for "not connected yet"; older Windows returns EINVAL for a second call."""

_FAILURES: Final = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMED_OUT,
    errno.EHOSTUNREACH: DialFailure.HOST_UNREACHABLE,
    errno.ENETUNREACH: DialFailure.NETWORK_UNREACHABLE,
    errno.EADDRNOTAVAIL: DialFailure.NETWORK_UNREACHABLE,
    errno.EACCES: DialFailure.FORBIDDEN,
    errno.EPERM: DialFailure.FORBIDDEN,
}


def dial_error(exc: OSError, target: str) -> DialError:
    """Return the `DialError` for an error of the operating system.

    Args:
        exc: from a socket call.
        target: what was dialled; begins the message.
    """
    reason = _FAILURES.get(exc.errno or 0, DialFailure.HOST_UNREACHABLE)
    return DialError(f"{target}: {exc.strerror or exc}", reason=reason)


async def resolve(
    name: str,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    *,
    limiter: trio.CapacityLimiter | None = None,
) -> list[IPAddress]:
    """Resolve a name with the system's resolver.

    Returns:
        At least one address; in the resolver's order, without duplicates.

    Args:
        name: as somebody wrote it.
        family: `AF_INET` or `AF_INET6` for these alone.
        limiter: of the thread in which the system is asked; it keeps its token until the system
            has answered, even if the caller gives up. None lets Trio do it all.

    Raises:
        DialError: the name has no address.
    """
    kind = socket.SOCK_STREAM
    try:
        if limiter is None:
            found = await trio.socket.getaddrinfo(name, None, family=family, type=kind)
        else:
            call = functools.partial(socket.getaddrinfo, name, None, family=family, type=kind)
            found = await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
    except (OSError, UnicodeError) as exc:
        raise DialError(f"{name}: {exc}", reason=DialFailure.NAME_NOT_FOUND) from None
    addresses: dict[IPAddress, None] = {}
    for _, _, _, _, sockaddr in found:
        address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
        addresses[address] = None
    return list(addresses)


async def dial(
    host: Host,
    port: int,
    *,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    local: IPAddress | None = None,
    refuse: Refuse | None = None,
    resolve: Resolve = resolve,
    options: Sequence[SocketOption] = (),
    patience: float | None = None,
) -> SocketTransport:
    """Connect to a host by TCP.

    Args:
        host: an address, or a name.
        port: 1 to 65535.
        family: which addresses of a name are looked up.
        local: the address to connect from; None leaves it to the system.
        refuse: called with each address before it is dialled; an `OSError` of it is a failure.
        resolve: finds the addresses of a name.
        options: set before connecting.
        patience: seconds after which the connection is reset if the peer's machine does not take
            what is sent; None leaves it to the system, which tries for a quarter of an hour.
            Linux only.

    Raises:
        DialError: no address could be reached, or all were refused.
        trio.Cancelled: from outside; nothing stays open.
    """
    if not port:
        raise DialError(f"{host}: port 0 cannot be reached", reason=DialFailure.REFUSED)
    if not isinstance(host, str):
        return _with_patience(await _dial_address(host, port, local, refuse, options), patience)
    with trio.move_on_after(DIAL_TIMEOUT):
        addresses = _interleave_families(await resolve(host, family))
        winner = await _race(
            addresses,
            host,
            lambda address: _dial_address(address, port, local, refuse, options),
        )
        return _with_patience(winner, patience)
    raise _timed_out(host, port)


def _with_patience(transport: SocketTransport, patience: float | None) -> SocketTransport:
    if patience is not None and _USER_TIMEOUT is not None:
        milliseconds = round(patience * 1000)
        transport.socket.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)
    return transport


async def _dial_address(
    address: IPAddress,
    port: int,
    local: IPAddress | None,
    refuse: Refuse | None,
    options: Sequence[SocketOption],
) -> SocketTransport:
    if refuse is not None:
        check_refusal(refuse, address, port)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:  # out of descriptors, or the address family is disabled
        raise dial_error(exc, f"{address}:{port}") from None
    try:
        sock.setblocking(False)
        set_options(sock, options)
        if local is not None and local.version == address.version:
            sock.bind((str(local), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        name = (str(address), port)
        code = sock.connect_ex(name)
        if code in _UNDER_WAY:
            # A destination on this machine has accepted by now. A second call finds out, and saves
            # a turn of the event loop.
            code = sock.connect_ex(name)
        if code in _UNDER_WAY:
            with trio.move_on_after(DIAL_TIMEOUT) as limit:
                await trio.lowlevel.wait_writable(sock.fileno())
            if limit.cancelled_caught:
                raise _timed_out(address, port)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and code != errno.EISCONN:
            raise OSError(code, os.strerror(code))
        return SocketTransport(sock)
    except OSError as exc:
        sock.close()
        raise dial_error(exc, f"{address}:{port}") from None
    except BaseException:
        trio.lowlevel.notify_closing(sock.fileno())
        sock.close()
        raise


def check_refusal(refuse: Refuse, address: IPAddress, port: int) -> None:
    """Ask whether an address may be dialled.

    Raises:
        DialError: it must not be, or nobody can tell now.
    """
    target = format_endpoint(address, port)
    try:
        why = refuse(address)
    except OSError as exc:
        raise dial_error(exc, target) from None
    if why is not None:
        raise DialError(f"{target}: {why}", reason=DialFailure.FORBIDDEN)


def _timed_out(host: Host, port: int) -> DialError:
    return DialError(
        f"{format_endpoint(host, port)}: connection attempt timed out",
        reason=DialFailure.TIMED_OUT,
    )


def _interleave_families(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Alternate between IPv4 and IPv6, beginning with the family of the first address.

    Source:
        RFC 8305 section 4.
    """
    if not addresses:
        return []
    preferred = addresses[0].version
    first = [address for address in addresses if address.version == preferred]
    other = [address for address in addresses if address.version != preferred]
    pairs = itertools.zip_longest(first, other)
    return [address for pair in pairs for address in pair if address is not None]


async def _race(
    addresses: Sequence[IPAddress],
    name: str,
    dial_address: Callable[[IPAddress], Awaitable[SocketTransport]],
) -> SocketTransport:
    """Dial addresses in order, each with a head start; return the first that connects."""
    winner: SocketTransport | None = None
    # The texts, not the errors: their tracebacks would keep this frame, and it would keep them.
    failures: list[tuple[str, DialFailure]] = []

    async def attempt(number: int, failed: trio.Event, nursery: trio.Nursery) -> None:
        nonlocal winner
        try:
            transport = await dial_address(addresses[number])
        except DialError as exc:
            failures.append((str(exc), exc.reason))
            failed.set()
            return
        if winner is None:
            winner = transport
            nursery.cancel_scope.cancel()
        else:
            # Two attempts can succeed in the same turn of the event loop.
            await transport.aclose()

    try:
        async with trio.open_nursery() as nursery:
            for number in range(len(addresses)):
                failed = trio.Event()
                nursery.start_soon(attempt, number, failed, nursery, name="attempt")
                with trio.move_on_after(ATTEMPT_DELAY):
                    await failed.wait()
    except BaseException:
        # The caller can be cancelled in the same turn in which an attempt succeeds.
        if winner is not None:
            await winner.aclose()
        raise
    if winner is not None:
        return winner
    if not failures:
        raise DialError(f"{name}: the name has no address", reason=DialFailure.NAME_NOT_FOUND)
    texts = "; ".join(text for text, _ in failures)
    raise DialError(f"{name}: {texts}", reason=failures[0][1])


def connect_datagram_socket(
    address: IPAddress,
    port: int,
    *,
    local: IPAddress | None = None,
    options: Sequence[SocketOption] = (),
) -> DatagramSocket:
    """Return a connected UDP socket: it sends to one address and receives only from it.

    Args:
        address: IPv4 or IPv6.
        port: 1 to 65535.
        local: the address to send from, for its own family; None leaves it to the system.
        options: set before connecting.

    Raises:
        DialError: `local` is not an address of this machine, there is no route to `address`, or the
            system refuses an option.
    """
    datagrams = open_datagram_socket(address, port, local=local, options=options)
    try:
        datagrams.socket.connect((str(address), port))
    except OSError as exc:
        datagrams.close()
        raise dial_error(exc, format_endpoint(address, port)) from None
    return datagrams


def open_datagram_socket(
    address: IPAddress,
    port: int,
    *,
    local: IPAddress | None = None,
    options: Sequence[SocketOption] = (),
) -> DatagramSocket:
    """Return a UDP socket that can send to an address, and to all others of its family.

    Args:
        address: IPv4 or IPv6.
        port: for the error.
        local: as in `connect_datagram_socket`.
        options: set before binding.

    Raises:
        DialError: `local` is not an address of this machine, or the system refuses an option.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as exc:
        raise dial_error(exc, format_endpoint(address, port)) from None
    try:
        set_options(sock, options)
        if local is not None and local.version == address.version:
            sock.bind((str(local), 0))
    except OSError as exc:
        sock.close()
        raise dial_error(exc, format_endpoint(address, port)) from None
    return DatagramSocket(sock)
