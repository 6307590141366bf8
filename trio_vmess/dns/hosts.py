"""Names whose answers are written down in the configuration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from trio_vmess.core import Host

MatchNames = Callable[[Sequence[str]], Callable[[str], bool]]
"""From entries as in routing rules to a test on names."""

_FULL: Final = "full:"


class FixedHosts:
    """Finds what is written down for a name.

    Args:
        entries: addresses, or one name that stands for it, by name. A plain name, and one with
            `full:`, means itself alone; other prefixes are those of routing rules.
        match_names: understands them.

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
        """Return what stands for a name: a full entry first, then the others in their order.

        Args:
            name: from `plain_name`.
        """
        hosts = self._exact.get(name)
        if hosts is not None:
            return hosts
        return next((hosts for matches, hosts in self._patterns if matches(name)), None)


def plain_name(name: str) -> str:
    """Return a name in the one spelling that is compared: lower case, no dot at the end."""
    return name.lower().removesuffix(".")
