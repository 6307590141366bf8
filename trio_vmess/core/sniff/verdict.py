"""The result of sniffing, and what counts as a domain name."""

import re
from typing import Final

import attrs

from trio_vmess.core.buffer import NeedData

DOMAIN_SIZE_MAX: Final = 253
"""RFC 1035 section 2.3.4, without the root's dot."""

_DOMAIN: Final = re.compile(
    rb"(?:[a-z0-9_-]+\.)*"
    rb"(?!(?:[0-9]+|0x[0-9a-f]*)\Z)"  # a number at the end: resolvers read an address
    rb"[a-z0-9_-]+"
)


@attrs.frozen(kw_only=True)
class Sniffed:
    """A protocol that was recognised.

    Attributes:
        protocol: `http1`, `tls`, `bittorrent` or `quic`: V2Ray's words, for rules.
        domain: the server that the client wants to talk to, in lower case; None where it does not
            name one, or names an IP address or something that is not a domain name.
    """

    protocol: str
    domain: str | None = None


Verdict = Sniffed | NeedData | None
"""Recognised; too early to say; something else."""


def domain_of(name: bytes) -> str | None:
    """Return a server's name in lower case, or None if it is not a domain name.

    An IP address is not one, and neither is what resolvers take for one (`127.1`, `0x7f000001`):
    a sniffed name must not lead to an address that routing rules do not see.
    """
    domain = name.lower()
    if len(domain) > DOMAIN_SIZE_MAX or _DOMAIN.fullmatch(domain) is None:
        return None
    return domain.decode("ascii")
