"""BitTorrent over TCP: the beginning of its handshake.

Source:
    BEP 3, "peer protocol".
"""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.sniff.verdict import Sniffed, Verdict

PROTOCOL: Final = "bittorrent"

GREETING: Final = b"\x13BitTorrent protocol"


def sniff_bittorrent(data: bytes) -> Verdict:
    """Look for a handshake at the beginning of a stream; it names no server."""
    if data.startswith(GREETING):
        return Sniffed(protocol=PROTOCOL)
    return NEED_DATA if GREETING.startswith(data) else None
