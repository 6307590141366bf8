"""Fuzz the sniffers of streams and of datagrams.

What is inside a QUIC packet is behind a seal that no mutation gets through. So the input is looked
at four ways: as a stream, as a datagram, as the frames of a packet, and as a CRYPTO frame's bytes.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.kit.client_hello import KINDS, build_handshake, handshake_of, make_hello, name_extension
from tests.kit.quic_client import crypto_frame, seal_initial
from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import Sniffed, Verdict, sniff, sniff_datagrams

_HANDSHAKE = handshake_of(make_hello("example.com", KINDS["one-cipher"]))

SEEDS = (
    make_hello("example.com", KINDS["one-cipher"]),
    make_hello("a.example", KINDS["1.3"]),
    _HANDSHAKE,
    build_handshake([name_extension(b"a.example"), (16, b"\x00\x03\x02h2")]),
    b"GET /path HTTP/1.1\r\nUser-Agent: x\r\nHost: example.com:8080\r\n\r\n",
    b"POST http://user@[::1]:80/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\nbody",
    b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
    b"\x13BitTorrent protocol" + bytes(48),
    crypto_frame(0, _HANDSHAKE[:60]) + b"\x01\x00" + crypto_frame(60, _HANDSHAKE[60:]),
    b"\x02\x05\x00\x01\x02\x03\x04" + crypto_frame(0, _HANDSHAKE),
    seal_initial(crypto_frame(0, _HANDSHAKE), pad_to=0),
    bytes.fromhex("d0000000010000050102030405") + seal_initial(b"\x01", pad_to=0),
)

Start = TypeVar("Start")

PROTOCOLS = {"http1", "tls", "bittorrent", "quic"}


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    Nothing raises; every beginning gives `NEED_DATA` or the verdict of the whole; a domain is one
    that a configuration could have.
    """
    _check_beginnings([data[:size] for size in range(len(data) + 1)], sniff)
    halves = [data[: len(data) // 2], data[len(data) // 2 :]]
    _check_datagrams([data])
    _check_datagrams(halves)
    _check_datagrams([seal_initial(each, pad_to=0, number=1) for each in halves])
    frames = [crypto_frame(0, halves[0]), crypto_frame(len(halves[0]), halves[1])]
    _check_datagrams([seal_initial(each, pad_to=0) for each in frames])


def _check_datagrams(datagrams: Sequence[bytes]) -> None:
    _check_beginnings([datagrams[:count] for count in range(len(datagrams) + 1)], sniff_datagrams)


def _check_beginnings(starts: Sequence[Start], look: Callable[[Start], Verdict]) -> None:
    known: Verdict = NEED_DATA
    for start in starts:
        verdict = look(start)
        if known is not NEED_DATA and verdict != known:
            raise ValueError(f"{known} became {verdict} at {start!r}")
        known = verdict
    if isinstance(known, Sniffed):
        _check_found(known)


def _check_found(found: Sniffed) -> None:
    if found.protocol not in PROTOCOLS:
        raise ValueError(f"{found}: no such protocol")
    domain = found.domain
    if domain is None:
        return
    if not 0 < len(domain) <= 253 or domain != domain.lower() or not domain.isascii():
        raise ValueError(f"{found}: no domain")
    if not domain.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{found}: no domain")
