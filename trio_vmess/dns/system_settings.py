"""What the machine's files say about how names are looked up, where we can do what they say.

Whatever is said there that we cannot do leaves names to `getaddrinfo`: better slow than wrong.
dnspython reads `resolv.conf` too, but knows neither `attempts` nor what it does not know, and its
module for that loads an HTTP client.

Source:
    resolv.conf(5), hosts(5), nsswitch.conf(5), gai.conf(5) of Linux and the GNU C library.
"""

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from trio_vmess.core import IPAddress, unmap
from trio_vmess.dns.hosts import plain_name

HOSTS_SIZE_MAX: Final = 1024 * 1024
"""Bytes of a hosts file that is read in one go while everybody waits: some 20 ms."""

SERVER_COUNT_MAX: Final = 3
"""MAXNS: further name servers are ignored."""

_OPTION_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "ndots": (0, 15),
    "timeout": (1, 30),
    "attempts": (1, 5),
}
_HARMLESS_OPTIONS: Final = frozenset(
    {
        *("rotate", "edns0", "trust-ad", "single-request", "single-request-reopen"),
        *("no-check-names", "no-reload", "inet6", "debug"),
    }
)
"""What changes how servers are asked, but not the answer."""

_MULTICAST: Final = frozenset({"mdns_minimal", "mdns4_minimal", "mdns6_minimal"})
"""Services for names that end in `.local`, and for no others."""

_OWN_NAME: Final = "myhostname"
_OWN_NAMES: Final = frozenset({"_gateway", "_outbound", "_localdnsstub", "_localdnsproxy"})
"""Names that `myhostname` knows, besides the machine's own."""

_ENVIRONMENT: Final = ("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES")


@attrs.frozen(kw_only=True)
class SystemFiles:
    """Where the machine says how names are looked up."""

    resolv: Path = Path("/etc/resolv.conf")
    hosts: Path = Path("/etc/hosts")
    services: Path = Path("/etc/nsswitch.conf")
    preferences: Path = Path("/etc/gai.conf")

    def versions(self) -> tuple[object, ...]:
        """Return what changes when one of the files does; nothing is read."""
        return tuple(map(_version, (self.resolv, self.hosts, self.services, self.preferences)))


@attrs.frozen(kw_only=True)
class SystemSettings:
    """How the machine looks names up.

    Attributes:
        servers: name servers, in the order in which they are queried.
        search: domains that short names are completed with.
        ndots: a name with so many dots is tried as it is before it is completed.
        timeout: seconds for one server.
        attempts: how often all of them are tried.
        hosts: addresses by plain name.
        services: others that know certain names: see `is_left_to_services`.
    """

    servers: tuple[IPAddress, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: int = 5
    attempts: int = 2
    hosts: Mapping[str, tuple[IPAddress, ...]] = attrs.field(
        factory=lambda: dict[str, tuple[IPAddress, ...]](), repr=False
    )
    services: frozenset[str] = frozenset()

    def is_left_to_services(self, name: str) -> bool:
        """Tell whether a plain name is the business of a service that we have no part in."""
        if _OWN_NAME in self.services and (
            name in _OWN_NAMES or name == plain_name(socket.gethostname())
        ):
            return True
        return bool(self.services & _MULTICAST) and (name == "local" or name.endswith(".local"))

    def candidates(self, name: str) -> list[str]:
        """Return the plain names to query for a name, in their order."""
        plain = plain_name(name)
        if name.endswith("."):
            return [plain]
        completed = [f"{plain}.{domain}" for domain in self.search]
        return [plain, *completed] if plain.count(".") >= self.ndots else [*completed, plain]


def read_settings(files: SystemFiles) -> SystemSettings | None:
    """Return what the files say; None if names have to be left to the system."""
    if not sys.platform.startswith("linux") or any(map(os.environ.get, _ENVIRONMENT)):
        return None
    try:
        if any(_lines(files.preferences)):
            return None
        services = _read_services(files.services)
        return attrs.evolve(
            _read_resolv(files.resolv), hosts=_read_hosts(files.hosts), services=services
        )
    except (OSError, ValueError):
        return None


def _version(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _lines(path: Path, *, comments: str = "#") -> Iterator[list[str]]:
    """Yield the words of each line that has some; nothing for a file that is not there.

    Raises:
        OSError: the file is there and cannot be read.
        ValueError: it is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(HOSTS_SIZE_MAX + 1)
    except FileNotFoundError:
        return
    if len(data) > HOSTS_SIZE_MAX:
        raise ValueError(f"{path} is too large")
    for line in data.decode("utf-8", "replace").splitlines():
        words = re.split(f"[{comments}]", line, maxsplit=1)[0].split()
        if words:
            yield words


def _read_services(path: Path) -> frozenset[str]:
    """Return the services for hosts besides `files` and `dns`.

    Raises:
        OSError, ValueError: they are not known, or do not mean what we do.
    """
    words = ["files", "dns"]
    for line in _lines(path):
        if line[0] == "hosts:":
            words = re.findall(r"\[[^\]]*\]|[^\s\[]+", " ".join(line[1:]))
    main: list[str] = []
    others: set[str] = set()
    previous = ""
    for word in words:
        if word in ("files", "dns"):
            main.append(word)
        elif word in _MULTICAST or word == _OWN_NAME:
            others.add(word)
        elif not (word.startswith("[") and previous in _MULTICAST):
            raise ValueError(f"{path}: {word}")
        previous = word
    if main != ["files", "dns"]:
        raise ValueError(f"{path}: {main}")
    return frozenset(others)


def _read_resolv(path: Path) -> SystemSettings:
    """Return what resolv.conf says.

    Raises:
        OSError, ValueError: it is not there, or says what we do not know.
    """
    servers: list[IPAddress] = []
    domain = socket.gethostname().partition(".")[2]
    search = [domain] if domain else []
    options: dict[str, int] = {}
    for keyword, *words in _lines(path, comments="#;"):
        if keyword == "nameserver" and words:
            servers.append(_address(words[0]))
        elif keyword in ("search", "domain"):
            search = words[:1] if keyword == "domain" else words
        elif keyword == "options":
            options.update(_read_options(words))
        else:
            raise ValueError(f"{path}: {keyword}")
    if not servers:
        raise ValueError(f"{path} names no server")
    return SystemSettings(
        servers=tuple(servers[:SERVER_COUNT_MAX]),
        search=tuple(plain for each in search if (plain := plain_name(each))),
        ndots=options.get("ndots", 1),
        timeout=options.get("timeout", 5),
        attempts=options.get("attempts", 2),
    )


def _read_options(words: list[str]) -> Iterator[tuple[str, int]]:
    for word in words:
        name, _, value = word.partition(":")
        if name in _OPTION_LIMITS:
            least, most = _OPTION_LIMITS[name]
            yield name, min(max(int(value), least), most)
        elif word not in _HARMLESS_OPTIONS:
            raise ValueError(word)


def _address(text: str) -> IPAddress:
    """Read the address of a server; one that needs an interface is not for us."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(text)
    return address


def _read_hosts(path: Path) -> Mapping[str, tuple[IPAddress, ...]]:
    hosts: dict[str, dict[IPAddress, None]] = {}
    for text, *names in _lines(path):
        try:
            address = unmap(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            # The C library passes over such a line, too.
            continue
        if isinstance(address, str):
            continue
        for name in names:
            hosts.setdefault(plain_name(name), {})[address] = None
    return {name: tuple(addresses) for name, addresses in hosts.items()}
