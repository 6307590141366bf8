"""ClientHellos: those of the `ssl` module, and those of our own making."""

import itertools
import ssl
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

RECORD_HEADER_SIZE: Final = 5


@attrs.frozen(kw_only=True)
class HelloKind:
    """How the `ssl` module is set up."""

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    alpn: tuple[str, ...] = ()
    ciphers: str = "DEFAULT"
    without_tickets: bool = False


KINDS: Final = {
    "default": HelloKind(),
    "1.3": HelloKind(minimum=ssl.TLSVersion.TLSv1_3),
    "1.2": HelloKind(maximum=ssl.TLSVersion.TLSv1_2),
    "alpn": HelloKind(alpn=("h2", "http/1.1")),
    "many-alpn": HelloKind(alpn=tuple(f"protocol-{number}" for number in range(40))),
    "one-cipher": HelloKind(
        maximum=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-RSA-AES128-GCM-SHA256", without_tickets=True
    ),
    "all-ciphers": HelloKind(ciphers="ALL"),
}


def make_hello(name: str | None, kind: HelloKind | None = None) -> bytes:
    """Return the records that a client of the `ssl` module begins with.

    Args:
        name: the server's; None for a client that sends none.
        kind: how it is set up.
    """
    kind = kind or HelloKind()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version, context.maximum_version = kind.minimum, kind.maximum
    context.set_ciphers(kind.ciphers)
    if kind.alpn:
        context.set_alpn_protocols(list(kind.alpn))
    if kind.without_tickets:
        context.options |= ssl.OP_NO_TICKET
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def handshake_of(records: bytes) -> bytes:
    """Return what records hold."""
    handshake = b""
    while records:
        end = RECORD_HEADER_SIZE + int.from_bytes(records[3:5], "big")
        handshake += records[RECORD_HEADER_SIZE:end]
        records = records[end:]
    return handshake


def to_records(handshake: bytes, cuts: Iterable[int] = ()) -> bytes:
    """Put a handshake message into records that end at these places."""
    places = sorted({0, len(handshake), *cuts})
    return b"".join(
        b"\x16\x03\x01" + (end - start).to_bytes(2, "big") + handshake[start:end]
        for start, end in itertools.pairwise(places)
    )


# By hand ------------------------------------------------------------------------------------------


def name_extension(name: bytes, *, kind: int = 0) -> tuple[int, bytes]:
    """Return a server_name extension with one entry."""
    entry = bytes((kind,)) + _with_size(name, 2)
    return 0, _with_size(entry, 2)


def build_handshake(
    extensions: Sequence[tuple[int, bytes]] | None,
    *,
    version: bytes = b"\x03\x03",
    session_id: bytes = bytes(32),
    suites: bytes = b"\x13\x01\x13\x02",
) -> bytes:
    """Return a ClientHello, sound or not; None leaves extensions out altogether."""
    body = version + bytes(32) + _with_size(session_id, 1) + _with_size(suites, 2) + b"\x01\x00"
    if extensions is not None:
        encoded = b"".join(
            kind.to_bytes(2, "big") + _with_size(data, 2) for kind, data in extensions
        )
        body += _with_size(encoded, 2)
    return b"\x01" + _with_size(body, 3)


def _with_size(data: bytes, field_size: int) -> bytes:
    return len(data).to_bytes(field_size, "big") + data
