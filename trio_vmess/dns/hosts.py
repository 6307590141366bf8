"""Names whose addresses are written in the configuration, as in `/etc/hosts`."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from trio_vmess.core import Host, IPAddress

MatchNames = Callable[[Sequence[str]], Callable[[str], bool]]
"""Makes a test on names from entries as routing rules have them."""

_FULL: Final = "full:"

_LOCALHOST: Final = "localhost"
_LOOPBACK: Final[Sequence[IPAddress]] = (
    ipaddress.IPv4Address("127.0.0.1"),
    ipaddress.IPv6Address("::1"),
)


class FixedHosts:
    """Finds what the configuration says about a name.

    Args:
        entries: by name, its addresses, or one other name that it is an alias of. A plain name, or
            one with `full:`, matches itself alone; other prefixes are those of routing rules.
        match_names: makes tests of the entries that have such a prefix.

    Source:
        v2ray-core, infra/conf/dns.go, DNSConfig.Build: in `hosts`, a plain name is a full one.
    """

    def __init__(self, entries: Mapping[str, Sequence[Host]], match_names: MatchNames) -> None:
        self._exact: dict[str, Sequence[Host]] = {}
        self._patterns: list[tuple[Callable[[str], bool], Sequence[Host]]] = []
        for entry, hosts in entries.items():
            kind, colon, name = entry.partition(":")
            if not colon or kind == _FULL[:-1]:
                self._exact[plain_name(name if colon else entry)] = hosts
            else:
                self._patterns.append((match_names([entry]), hosts))

    def find(self, name: str) -> Sequence[Host] | None:
        """Return the hosts of the entry that matches: exact names first, then by their order.

        Args:
            name: from `plain_name`.
        """
        hosts = self._exact.get(name)
        if hosts is not None:
            return hosts
        return next((hosts for matches, hosts in self._patterns if matches(name)), None)


def plain_name(name: str) -> str:
    """Return a name in the spelling that is compared: lower case, without a trailing dot."""
    return name.lower().removesuffix(".")


def loopback_addresses(plain: str) -> Sequence[IPAddress]:
    """Return the addresses of a plain name that always means this machine; none for others.

    Source:
        RFC 6761 section 6.3: nobody is to be asked for names under `localhost`.
    """
    return _LOOPBACK if plain == _LOCALHOST or plain.endswith(f".{_LOCALHOST}") else ()
