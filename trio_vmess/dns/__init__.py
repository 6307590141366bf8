"""Names become addresses: fixed hosts first, then name servers in turn, with a cache in front.

`Resolver` is what an outbound asks. Whom it asks is made of `SystemServer`, `DatagramServer`,
`StreamServer` and `HttpsServer`; they reach their servers by a `DnsDialer`, so that a question can
take any way out of the node. The wire format is dnspython's, which is loaded with the first
question: a node that asks none does not carry it.
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
    "SystemResolve",
    "SystemServer",
    "has_https",
]
