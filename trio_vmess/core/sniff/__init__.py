"""What is in a connection, and for whom, by its first bytes.

One module per protocol, and a table of them. A verdict is `Sniffed`, `NEED_DATA`, or None for
something else.
"""

from typing import TYPE_CHECKING

from trio_vmess.lazy import lazy_names

if TYPE_CHECKING:
    from trio_vmess.core.sniff.settings import SniffingSettings
    from trio_vmess.core.sniff.table import (
        SNIFF_DATAGRAM_COUNT_MAX,
        SNIFF_SIZE_MAX,
        sniff,
        sniff_datagrams,
    )
    from trio_vmess.core.sniff.verdict import Sniffed, Verdict
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "settings": ("SniffingSettings",),
            "table": ("SNIFF_DATAGRAM_COUNT_MAX", "SNIFF_SIZE_MAX", "sniff", "sniff_datagrams"),
            "verdict": ("Sniffed", "Verdict"),
        },
    )

__all__ = [
    "SNIFF_DATAGRAM_COUNT_MAX",
    "SNIFF_SIZE_MAX",
    "Sniffed",
    "SniffingSettings",
    "Verdict",
    "sniff",
    "sniff_datagrams",
]
