"""TLS: the server's name in a ClientHello, over any number of records and reads.

The verdict falls as soon as the name was read: what stands behind it in the message, which may be
kilobytes of key shares, need not have come.

Source:
    RFC 8446 sections 4.1.2 and 5.1, RFC 5246 section 7.4.1.2, RFC 6066 section 3.
"""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.sniff.cursor import MalformedError
from trio_vmess.core.sniff.verdict import Sniffed, Verdict, domain_of

PROTOCOL: Final = "tls"

HANDSHAKE_RECORD: Final = 0x16
_MAJOR_VERSION: Final = 0x03
_RECORD_HEADER_SIZE: Final = 5
_RECORD_SIZE_MAX: Final = 1 << 14

_CLIENT_HELLO: Final = 0x01
_MESSAGE_HEADER_SIZE: Final = 4
_VERSION_SIZE: Final = 2
_RANDOM_SIZE: Final = 32
_SESSION_ID_SIZE_MAX: Final = 32
_HELLO_SIZE_MIN: Final = 45
"""With an empty session id, one cipher suite, one compression method and no extensions."""
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0


class IncompleteError(Exception):
    """What is to be read has not come yet."""


def sniff_tls(data: bytes) -> Verdict:
    """Look for a ClientHello at the beginning of a stream.

    A ClientHello without a server name is TLS without a domain.
    """
    handshake, may_go_on = _join_records(data)
    try:
        domain = read_server_name(handshake)
    except IncompleteError:
        return NEED_DATA if may_go_on else None
    except MalformedError:
        return None
    return Sniffed(protocol=PROTOCOL, domain=domain)


def _join_records(data: bytes) -> tuple[bytes, bool]:
    """Return what handshake records hold, and whether more of them may follow."""
    fragments: list[bytes] = []
    position = 0
    while position < len(data):
        header = data[position : position + _RECORD_HEADER_SIZE]
        if header[0] != HANDSHAKE_RECORD or header[1:2] not in (b"", bytes((_MAJOR_VERSION,))):
            return b"".join(fragments), False
        if len(header) < _RECORD_HEADER_SIZE:
            break
        size = header[3] << 8 | header[4]
        if not 0 < size <= _RECORD_SIZE_MAX:
            return b"".join(fragments), False
        position += _RECORD_HEADER_SIZE
        fragments.append(data[position : position + size])
        position += size
    return b"".join(fragments), True


def read_server_name(handshake: bytes) -> str | None:
    """Return the domain that a ClientHello asks for, or None if it asks for none.

    Args:
        handshake: handshake messages, or their beginning, without what carries them.

    Raises:
        IncompleteError: the answer has not come yet.
        MalformedError: this is not a ClientHello.
    """
    try:
        extension = _find_server_name(handshake)
    except IndexError:
        raise IncompleteError from None
    return None if extension is None else _read_name_list(extension)


def _find_server_name(data: bytes) -> bytes | None:
    """Return the server_name extension, or None if there is none.

    Bytes are read by their index, for every connection pays for this: a cursor object took three
    times as long.

    Raises:
        IndexError: what is to be read has not come yet.
        MalformedError: this is not a ClientHello.
    """
    if data[0] != _CLIENT_HELLO:
        raise MalformedError
    end = _MESSAGE_HEADER_SIZE + (data[1] << 16 | data[2] << 8 | data[3])
    if end < _HELLO_SIZE_MIN or data[_MESSAGE_HEADER_SIZE] != _MAJOR_VERSION:
        raise MalformedError
    at = _MESSAGE_HEADER_SIZE + _VERSION_SIZE + _RANDOM_SIZE
    if data[at] > _SESSION_ID_SIZE_MAX:
        raise MalformedError
    at += 1 + data[at]
    suites_size = data[at] << 8 | data[at + 1]
    if not suites_size or suites_size % 2:
        raise MalformedError
    at += 2 + suites_size
    at += 1 + data[at]
    if at == end:
        # TLS 1.2 and older: extensions are optional.
        return None
    # This also tells a field that has led beyond the message.
    if at + 2 + (data[at] << 8 | data[at + 1]) != end:
        raise MalformedError
    at += 2
    while at < end:
        kind, size = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        start, at = at + 4, at + 4 + size
        if at > end:
            raise MalformedError
        if kind == _SERVER_NAME:
            if at > len(data):
                raise IndexError
            return data[start:at]
    return None


def _read_name_list(extension: bytes) -> str | None:
    end = len(extension)
    if int.from_bytes(extension[:2], "big") != end - 2:
        raise MalformedError
    at = 2
    while at < end:
        start = at + 3
        at = start + int.from_bytes(extension[at + 1 : start], "big")
        if at > end:
            raise MalformedError
        if extension[start - 3] == _HOST_NAME:
            return domain_of(extension[start:at])
    return None
