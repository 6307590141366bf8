"""The machine's resolver, without its threads.

`getaddrinfo` waits in a thread that nobody can stop, and a program has only so many of them. Where
the machine's files say what it would do, the same is done here, with our own queries; everywhere
else it is called, with threads that are shared out among those who ask.
"""

import ipaddress
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Protocol, cast

import trio

from trio_vmess.core import IPAddress
from trio_vmess.dns.hosts import FixedHosts, loopback_addresses, plain_name
from trio_vmess.dns.resolver import Resolver, Source
from trio_vmess.dns.servers import DatagramServer, DnsDialer
from trio_vmess.dns.system_settings import SystemFiles, SystemSettings, read_settings
from trio_vmess.dns.turns import ThreadTurns, Turns
from trio_vmess.errors import DialError, DialFailure

LOOK_AGAIN_AFTER: Final = 2.0
"""Seconds after which the next lookup looks whether the files have changed."""

THREADS_OF_ONE: Final = 16
THREADS_OF_ALL: Final = 128

_DNS_PORT: Final = 53
_VERSIONS: Final = {socket.AF_INET: (4,), socket.AF_INET6: (6,), socket.AF_UNSPEC: (4, 6)}


class CallSystem(Protocol):
    """Calls `getaddrinfo`."""

    async def __call__(
        self,
        name: str,
        family: socket.AddressFamily,
        /,
        *,
        limiter: trio.CapacityLimiter | None = None,
    ) -> list[IPAddress]:
        """Return the addresses of a name.

        Args:
            name: as somebody wrote it.
            family: of both families, or one of them.
            limiter: of the thread that waits; None asks whom the program has set for its Trio run.

        Raises:
            DialError: there are none.
        """
        ...


class SystemResolver:
    """Finds addresses as the machine does.

    A program that runs a node in its own Trio run, and has set a hostname resolver there, is asked
    instead.

    Args:
        call: calls `getaddrinfo`.
        dialer: connects to name servers.
        prefer: puts the addresses of both families into the order in which they are dialled.
        files: where the machine's settings are.
        port: of name servers.
    """

    def __init__(
        self,
        *,
        call: CallSystem,
        dialer: DnsDialer,
        prefer: Callable[[Sequence[IPAddress]], list[IPAddress]],
        files: SystemFiles | None = None,
        port: int = _DNS_PORT,
    ) -> None:
        self._call = call
        self._dialer = dialer
        self._prefer = prefer
        self._files = SystemFiles() if files is None else files
        self._port = port
        self._turns = Turns()
        self._threads = Turns(THREADS_OF_ONE, THREADS_OF_ALL)
        self._look_again = 0.0
        self._versions: tuple[object, ...] | None = None
        self._settings: SystemSettings | None = None
        self._servers = Resolver((), FixedHosts({}, _match_nothing))

    async def resolve(
        self,
        name: str,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        *,
        owner: Hashable = None,
    ) -> list[IPAddress]:
        """Return the addresses of a name, in the order in which they are to be dialled.

        Args:
            name: as somebody wrote it.
            family: `AF_INET` or `AF_INET6` for these alone.
            owner: who asks: lookups of one do not hold up another's. None for a name that nobody
                but the configuration chose.

        Raises:
            DialError: it has none, or nobody could tell.
        """
        plain = plain_name(name)
        known = loopback_addresses(plain) or _spelled_address(plain)
        if known:
            return _of_family(known, family, name)
        if _is_taken_care_of():
            return await self._call(name, family)
        settings = self._read()
        whose = ("", name) if owner is None else owner
        if settings is None or settings.is_left_to_services(plain):
            # QUIRK: Trio takes anything that has these two methods, but does not type it so.
            limiter = cast("trio.CapacityLimiter", ThreadTurns(self._threads, whose))
            return await self._call(name, family, limiter=limiter)
        found = [
            each for each in settings.hosts.get(plain, ()) if each.version in _VERSIONS[family]
        ]
        if not found:
            async with self._turns.turn(whose):
                found = await self._query(settings.candidates(name), family)
        return self._prefer(found)

    def _read(self) -> SystemSettings | None:
        """Return the machine's settings, read anew if they have changed."""
        now = trio.current_time()
        if self._versions is None or now >= self._look_again:
            self._look_again = now + LOOK_AGAIN_AFTER
            versions = self._files.versions()
            if versions != self._versions:
                self._versions = versions
                self._settings = read_settings(self._files)
                self._servers = self._make_servers(self._settings)
        return self._settings

    def _make_servers(self, settings: SystemSettings | None) -> Resolver:
        if settings is None:
            return Resolver((), FixedHosts({}, _match_nothing))
        servers = [
            Source(server=DatagramServer(address, self._port, dialer=self._dialer))
            for address in settings.servers
        ]
        return Resolver(
            servers * settings.attempts,
            FixedHosts({}, _match_nothing),
            server_timeout=float(settings.timeout),
        )

    async def _query(
        self, candidates: Sequence[str], family: socket.AddressFamily
    ) -> list[IPAddress]:
        """Return the addresses of the first of these names that has some."""
        servers = self._servers
        failure: DialError | None = None
        for name in candidates:
            try:
                answers = await servers.look_up(name, family)
            except DialError as exc:
                failure = failure or exc
                continue
            if found := [address for answer in answers for address in answer.addresses]:
                return found
        reason = DialFailure.NAME_NOT_FOUND
        if failure is not None:
            raise DialError(str(failure), reason=reason) from None
        raise DialError(f"{candidates[0]} has no address", reason=reason)


def _of_family(
    addresses: Sequence[IPAddress], family: socket.AddressFamily, name: str
) -> list[IPAddress]:
    found = [each for each in addresses if each.version in _VERSIONS[family]]
    if not found:
        raise DialError(f"{name} has no address", reason=DialFailure.NAME_NOT_FOUND)
    return found


def _spelled_address(plain: str) -> Sequence[IPAddress]:
    """Return the address that a plain name spells, if it does."""
    # QUIRK: to `getaddrinfo`, and so to every program, 127.1 and 0x7f000001 are addresses.
    if not plain.rpartition(".")[2][:1].isdigit() or any(map(str.isspace, plain)):
        return ()
    try:
        return [ipaddress.IPv4Address(socket.inet_aton(plain))]
    except (OSError, ValueError):
        return ()


def _is_taken_care_of() -> bool:
    """Tell whether this Trio run has a hostname resolver of its own."""
    # Trio tells by handing out what one replaces; nobody else runs between the two calls.
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None


def _match_nothing(_entries: Sequence[str]) -> Callable[[str], bool]:
    return lambda _name: False
