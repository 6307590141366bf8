"""A DNS client: fixed hosts, a cache, and name servers that are queried in turn.

`Resolver` is what an outbound asks for the addresses of a name, or `SystemResolver` where the
configuration leaves it to the machine. The name servers behind it are `SystemServer`,
`DatagramServer`, `StreamServer` and `HttpsServer`. They connect through a `DnsDialer`, so that a
query can leave the node by any outbound. dnspython does the wire format; it is loaded with the
first query, so a node that sends none does not pay for it.
"""

from trio_vmess.dns.answers import Answer, AnswerCache, Query
from trio_vmess.dns.hosts import FixedHosts
from trio_vmess.dns.resolver import Resolver, Source
from trio_vmess.dns.servers import (
    DatagramServer,
    DnsDialer,
    HttpsServer,
    NameServer,
    StreamServer,
    SystemResolve,
    SystemServer,
    has_https,
)
from trio_vmess.dns.system import SystemResolver
from trio_vmess.dns.system_settings import SystemFiles, SystemSettings, read_settings
from trio_vmess.dns.turns import Turns

__all__ = [
    "Answer",
    "AnswerCache",
    "DatagramServer",
    "DnsDialer",
    "FixedHosts",
    "HttpsServer",
    "NameServer",
    "Query",
    "Resolver",
    "Source",
    "StreamServer",
    "SystemFiles",
    "SystemResolve",
    "SystemResolver",
    "SystemServer",
    "SystemSettings",
    "Turns",
    "has_https",
    "read_settings",
]
