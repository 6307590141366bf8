"""QUIC version 1: the server's name in a client's first datagrams.

Their packets are sealed with keys that everyone can derive from the connection id they begin with.
What they hold is the ClientHello in CRYPTO frames: in any order, and over more than one datagram
where key shares are large.

Source:
    RFC 9001 sections 5.2 to 5.4, RFC 9000 sections 12.4, 17.2 and 19.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.crypto import (
    InvalidTag,
    aes_block_encrypt,
    aes_gcm,
    hkdf_expand,
    hkdf_extract,
)
from trio_vmess.core.sniff.cursor import Cursor, MalformedError
from trio_vmess.core.sniff.tls import IncompleteError, read_server_name
from trio_vmess.core.sniff.verdict import Sniffed, Verdict

PROTOCOL: Final = "quic"

_VERSION: Final = 1
_SALT: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_KEY_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_CONNECTION_ID_SIZE_MAX: Final = 20

_LONG_HEADER: Final = 0xC0
"""The bit of a long header, and the one that is always set."""
_TYPE_BITS: Final = 0x30
_INITIAL: Final = 0x00
_RETRY: Final = 0x30

_SAMPLE_OFFSET: Final = 4
_SAMPLE_SIZE: Final = 16
_PROTECTED_BITS: Final = 0x0F
"""Of a long header's first byte."""

_PING: Final = 0x01
_ACK: Final = 0x02
_ACK_ECN: Final = 0x03
_CRYPTO: Final = 0x06


@attrs.frozen(kw_only=True)
class _Keys:
    """What seals a client's Initial packets."""

    key: bytes = attrs.field(repr=False)
    iv: bytes = attrs.field(repr=False)
    header_key: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class _Packet:
    """An Initial packet, still sealed.

    Attributes:
        connection_id: the destination's.
        data: header and payload.
        number_offset: where the packet number begins.
    """

    connection_id: bytes
    data: bytes = attrs.field(repr=False)
    number_offset: int


def sniff_quic(datagrams: Sequence[bytes]) -> Verdict:
    """Look for a ClientHello in the first datagrams of a flow.

    The first one must begin with an Initial packet that opens; those that follow may be anything.
    What opens and holds something else than a ClientHello is QUIC without a domain.
    """
    keys: _Keys | None = None
    connection_id = b""
    pieces: list[tuple[int, bytes]] = []
    for datagram in datagrams:
        for packet in _initials_of(datagram):
            if keys is None:
                connection_id = packet.connection_id
                keys = _derive_keys(connection_id)
            elif packet.connection_id != connection_id:
                continue
            payload = _open(packet, keys)
            if payload is not None:
                pieces += _crypto_pieces_of(payload)
            elif datagram is datagrams[0]:
                return None
        if keys is None:
            return None
        try:
            domain = read_server_name(_join(pieces))
        except IncompleteError:
            continue
        except MalformedError:
            return Sniffed(protocol=PROTOCOL)
        return Sniffed(protocol=PROTOCOL, domain=domain)
    return NEED_DATA


def _initials_of(datagram: bytes) -> Iterator[_Packet]:
    """Yield the Initial packets of a datagram; several packets may share one."""
    position = 0
    while position < len(datagram):
        try:
            packet, size = _read_packet(datagram[position:])
        except MalformedError:
            return
        if packet is not None:
            yield packet
        position += size


def _read_packet(data: bytes) -> tuple[_Packet | None, int]:
    """Read one packet with a long header; return it if it is an Initial, and its size.

    Raises:
        MalformedError: this is not such a packet, or one without a size.
    """
    cursor = Cursor(data)
    first = cursor.number(1)
    kind = first & _TYPE_BITS
    if first & _LONG_HEADER != _LONG_HEADER or kind == _RETRY or cursor.number(4) != _VERSION:
        raise MalformedError
    destination_id = cursor.take(_connection_id_size(cursor))
    cursor.take(_connection_id_size(cursor))
    if kind == _INITIAL:
        cursor.take(cursor.varint())
    size = cursor.varint()
    number_offset = cursor.position
    cursor.take(size)
    if kind != _INITIAL:
        return None, cursor.position
    if size < _SAMPLE_OFFSET + _SAMPLE_SIZE:
        raise MalformedError
    packet = _Packet(
        connection_id=destination_id, data=data[: cursor.position], number_offset=number_offset
    )
    return packet, cursor.position


def _connection_id_size(cursor: Cursor) -> int:
    size = cursor.number(1)
    if size > _CONNECTION_ID_SIZE_MAX:
        raise MalformedError
    return size


# What is sealed -----------------------------------------------------------------------------------


def _derive_keys(connection_id: bytes) -> _Keys:
    secret = _expand_label(hkdf_extract(_SALT, connection_id), b"client in", 32)
    return _Keys(
        key=_expand_label(secret, b"quic key", _KEY_SIZE),
        iv=_expand_label(secret, b"quic iv", _NONCE_SIZE),
        header_key=_expand_label(secret, b"quic hp", _KEY_SIZE),
    )


def _expand_label(secret: bytes, label: bytes, size: int) -> bytes:
    """Return HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0"
    return hkdf_expand(secret, info, size)


def _open(packet: _Packet, keys: _Keys) -> bytes | None:
    """Return a packet's frames, or None if these keys did not seal it."""
    data, start = packet.data, packet.number_offset
    sample = data[start + _SAMPLE_OFFSET : start + _SAMPLE_OFFSET + _SAMPLE_SIZE]
    mask = aes_block_encrypt(keys.header_key, sample)
    first = data[0] ^ mask[0] & _PROTECTED_BITS
    end = start + 1 + (first & 0x03)
    # The first packets have numbers so small that what is written is all of it.
    number = bytes(a ^ b for a, b in zip(data[start:end], mask[1:], strict=False))
    nonce = int.from_bytes(keys.iv, "big") ^ int.from_bytes(number, "big")
    header = bytes((first,)) + data[1:start] + number
    try:
        return aes_gcm(keys.key).decrypt(nonce.to_bytes(_NONCE_SIZE, "big"), data[end:], header)
    except InvalidTag:
        return None


def _crypto_pieces_of(payload: bytes) -> list[tuple[int, bytes]]:
    """Return the CRYPTO frames of a packet, as offsets and bytes.

    The frames behind one that no client's first packet has are not read.
    """
    pieces: list[tuple[int, bytes]] = []
    cursor = Cursor(payload)
    try:
        # Padding is a frame of one zero byte, and there are a thousand.
        cursor.skip_zeros()
        while not cursor.at_end:
            kind = cursor.varint()
            if kind == _CRYPTO:
                offset = cursor.varint()
                pieces.append((offset, cursor.take(cursor.varint())))
            elif kind in (_ACK, _ACK_ECN):
                _skip_ack(cursor, has_counts=kind == _ACK_ECN)
            elif kind != _PING:
                break
            cursor.skip_zeros()
    except MalformedError:
        pass
    return pieces


def _skip_ack(cursor: Cursor, *, has_counts: bool) -> None:
    cursor.varint()
    cursor.varint()
    range_count = cursor.varint()
    cursor.varint()
    for _ in range(2 * range_count + 3 * has_counts):
        cursor.varint()


def _join(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """Return what is there of a stream, from its beginning to the first gap."""
    joined = bytearray()
    for offset, data in sorted(pieces):
        if offset > len(joined):
            break
        joined += data[len(joined) - offset :]
    return bytes(joined)
