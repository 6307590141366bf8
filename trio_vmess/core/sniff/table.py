"""Which sniffers are asked, in which order, and for how long.

No two of the protocols begin with the same byte, so one sniffer is asked at most. The order is that
of V2Ray.
"""

from collections.abc import Callable, Sequence
from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.sniff import quic
from trio_vmess.core.sniff.bittorrent import GREETING, sniff_bittorrent
from trio_vmess.core.sniff.http import METHODS, sniff_http
from trio_vmess.core.sniff.tls import HANDSHAKE_RECORD, sniff_tls
from trio_vmess.core.sniff.verdict import Sniffed, Verdict

SNIFF_SIZE_MAX: Final = 8192
"""Bytes of a stream that are looked at: a ClientHello of today has two thousand at most."""

SNIFF_DATAGRAM_COUNT_MAX: Final = 2
"""Datagrams of a flow that are looked at: as many as a large ClientHello takes."""

SNIFFERS: Final[tuple[tuple[frozenset[int], Callable[[bytes], Verdict]], ...]] = (
    (frozenset(byte for word in METHODS for byte in (word[:1] + word[:1].upper())), sniff_http),
    (frozenset({HANDSHAKE_RECORD}), sniff_tls),
    (frozenset(GREETING[:1]), sniff_bittorrent),
)
"""First bytes, and who knows what they begin."""


def sniff(data: bytes, *, limit: int = SNIFF_SIZE_MAX) -> Verdict:
    """Look at the first bytes of a stream.

    It takes any bytes and raises nothing. More bytes never change a verdict but `NEED_DATA`.

    Args:
        data: what has come so far.
        limit: how much of it is looked at.

    Returns:
        What was recognised; `NEED_DATA` if more bytes can tell; None if they cannot, or if there
        are `limit` of them already.
    """
    if not data:
        return NEED_DATA if limit > 0 else None
    head, first_byte = data[:limit], data[0]
    for first_bytes, recognise in SNIFFERS:
        if first_byte in first_bytes:
            verdict = recognise(head)
            return None if verdict is NEED_DATA and len(data) >= limit else verdict
    return None


def sniff_datagrams(
    datagrams: Sequence[bytes], *, limit: int = SNIFF_DATAGRAM_COUNT_MAX
) -> Verdict:
    """Look at the first datagrams of a flow; see `sniff`.

    Args:
        datagrams: what has come so far.
        limit: how many are looked at. QUIC that has named no server by then is without a domain.
    """
    verdict = quic.sniff_quic(datagrams[:limit])
    if verdict is NEED_DATA and len(datagrams) >= limit:
        return Sniffed(protocol=quic.PROTOCOL)
    return verdict
