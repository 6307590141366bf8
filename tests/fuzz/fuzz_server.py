"""Fuzz the server's side of VMess.

The first byte of an input says how the rest is read:

    'w'   as the bytes that a client sends
    'a'   one byte n, then n bytes of a plain request header without its checksum, then the body:
          the header is given its checksum and sealed by somebody who knows the user's key
    'l'   the same with a legacy header
    'd'   the same with a legacy header in the dialect of the documents
    'W'   as 'w', in the dialect of the documents
"""

from collections.abc import Iterator
from typing import Final

from tests.fuzz.conversations import (
    ANSWER,
    CUTS,
    KINDS,
    PAYLOADS,
    Kind,
    Outcome,
    check_end,
    check_unaltered,
    compare,
    has_boundaries,
    pieces_of,
    pump,
)
from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW
from trio_vmess.core import NEED_DATA
from trio_vmess.core.crypto import fnv1a
from trio_vmess.core.vmess import (
    DOCUMENT,
    V2RAY,
    AuthMatch,
    Data,
    Dialect,
    EndOfStream,
    ReplayCache,
    Request,
    ServerConnection,
    UserRegistry,
)
from trio_vmess.core.vmess.auth import derive_auth_id_key, derive_user_hash, seal_auth_id
from trio_vmess.core.vmess.header import (
    decrypt_legacy_header,
    encrypt_legacy_header,
    open_aead_header,
    seal_aead_header,
)
from trio_vmess.errors import RemoteProtocolError

AUTH_SIZE: Final = 16

_USER: Final = KINDS[0].who
_LEGACY_USER: Final = next(kind.who for kind in KINDS if kind.alter_id_count)


def _users(dialect: Dialect) -> UserRegistry:
    # A user with alter ids may come in with either form of header.
    if dialect is DOCUMENT:
        return UserRegistry([_USER], legacy_without_alter_ids=True)
    return UserRegistry([_LEGACY_USER])


USERS: Final = {dialect.name: _users(dialect) for dialect in (V2RAY, DOCUMENT)}


def _wire(kind: Kind) -> tuple[bytes, bytes]:
    """Return the header and the body that a client of this kind sends."""
    client = kind.new_client()
    header = client.send(kind.request())
    body = b"".join(client.send(Data(payload=payload)) for payload in PAYLOADS)
    return header, body + client.send(EndOfStream())


def _plain(kind: Kind, wire: bytes) -> bytes:
    """Return the header in plain, without its checksum."""
    if kind.is_aead:
        opened = open_aead_header(wire, kind.who.cmd_key)
        if opened is NEED_DATA:
            raise ValueError("the header is not whole")
        return opened[0][:-4]
    match = USERS[kind.dialect.name].find_user_hash(wire[:AUTH_SIZE], now=NOW)
    if not isinstance(match, AuthMatch):
        raise ValueError("the header is nobody's")
    return decrypt_legacy_header(wire[AUTH_SIZE:], kind.who.cmd_key, match.timestamp)[:-4]


def _seeds() -> Iterator[bytes]:
    for kind in KINDS:
        header, body = _wire(kind)
        in_document = kind.dialect is DOCUMENT
        yield (b"W" if in_document else b"w") + header + body
        plain = _plain(kind, header)
        form = b"d" if in_document else b"a" if kind.is_aead else b"l"
        yield form + bytes((len(plain),)) + plain + body


_FOREIGN: Final = (
    b"w\x05\x01\x00",
    b"w\x04\x01\x00\x50\x7f\x00\x00\x01user-of-old-days\x00",
    b"w\x16\x03\x01\x02\x00\x01\x00",
    b"wGET / HTTP/1.1\r\nHost: a\r\n\r\n",
)

_RECORDED: Final = tuple(_seeds())
SEEDS: Final = _RECORDED + _FOREIGN
GENUINE: Final = frozenset(seed[1 : 1 + AUTH_SIZE] for seed in _RECORDED if seed[:1] in b"wW")
"""How a client's bytes can begin: nobody else can make an auth id or a user hash."""


def to_wire(data: bytes) -> tuple[bytes, Dialect]:
    """Return what the input stands for."""
    form, rest = data[:1], data[1:]
    dialect = DOCUMENT if form in (b"W", b"d") else V2RAY
    if form not in (b"a", b"l", b"d") or not rest:
        return rest, dialect
    size = rest[0]
    plain, body = rest[1 : 1 + size], rest[1 + size :]
    plain += fnv1a(plain).to_bytes(4, "big")
    if form == b"a":
        auth_id = seal_auth_id(derive_auth_id_key(_USER.cmd_key), NOW, b"seed")
        return seal_aead_header(plain, _USER.cmd_key, auth_id, b"8 bytes.") + body, dialect
    user_hash = derive_user_hash(_USER.user_id, NOW)
    return user_hash + encrypt_legacy_header(plain, _USER.cmd_key, NOW) + body, dialect


def converse(pieces: list[bytes], dialect: Dialect, *, hand_over: bool = False) -> Outcome:
    """Play a client that sends these pieces and closes, and a shell that answers it.

    Args:
        pieces: what the client sends.
        dialect: of the server.
        hand_over: take the codecs as soon as the request is there.
    """
    users = USERS[dialect.name]
    server = ServerConnection(
        users, ReplayCache(window=users.window), entropy=SeededEntropy(1), dialect=dialect
    )
    outcome = Outcome()
    rest = iter([*pieces, b""])
    try:
        for piece in rest:
            server.receive_data(piece, now=NOW)
            while (event := server.next_event()) is not NEED_DATA:
                outcome.take(event)
                if isinstance(event, Request):
                    outcome.sent = server.send(ANSWER) + server.send(Data(payload=b"an answer"))
                    if hand_over:
                        pump(server.hand_over(), rest, outcome)
                        return outcome
    except RemoteProtocolError as exc:
        outcome.error = exc
    if outcome.error is None and outcome.end is None:
        raise ValueError(f"the client is gone, and nothing says so: {outcome}")
    if not hand_over:
        check_end(outcome, server)
    return outcome


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; two equal runs say the same; how the bytes are
    split changes nothing, nor who drives the codecs; nobody gets in whose header no client made;
    and under an AEAD nothing is passed on that was not sent.
    """
    wire, dialect = to_wire(data)
    runs = [converse(pieces_of(wire, cut), dialect) for cut in (CUTS[0], *CUTS)]
    runs += [converse(pieces_of(wire, cut), dialect, hand_over=True) for cut in CUTS]
    request = runs[0].header
    if not isinstance(request, Request | None):
        raise TypeError(f"a client cannot say {request}")
    for run in runs[1:]:
        compare(runs[0], run, request=request, dialect=dialect)
    if request is None or data[:1] in (b"a", b"l", b"d"):
        return
    if wire[:AUTH_SIZE] not in GENUINE:
        raise ValueError(f"nobody sent this: {request}")
    if request.security.is_aead:
        for run in runs:
            check_unaltered(run, are_datagrams=has_boundaries(request, dialect))
