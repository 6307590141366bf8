"""Fuzz the client's side of VMess.

The first byte of an input chooses one of `KINDS`, the request that was sent. The second byte says
how the rest is read:

    'w'   as the bytes that a server sends
    'h'   one byte n, then n bytes of a plain response header, then the body: the header is sealed
          by somebody who knows the keys
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
from trio_vmess.core.crypto import cfb_encryptor
from trio_vmess.core.vmess import (
    ClientConnection,
    Data,
    EndOfStream,
    ReplayCache,
    Response,
    ServerConnection,
)
from trio_vmess.core.vmess.response import (
    ResponseHeader,
    encode_response_header,
    seal_response_header,
)
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

_KINDS_MAX: Final = 256


def _start(kind: Kind) -> tuple[ClientConnection, bytes]:
    """Return a client that has sent its request and some data, and what it sent."""
    client = kind.new_client()
    return client, client.send(kind.request()) + client.send(Data(payload=b"a question"))


def _answer(kind: Kind) -> tuple[bytes, bytes]:
    """Return the header and the body that a server answers."""
    users = kind.new_users()
    server = ServerConnection(
        users,
        ReplayCache(window=users.window),
        entropy=SeededEntropy(kind.seed + 1),
        dialect=kind.dialect,
    )
    server.receive_data(_start(kind)[1], now=NOW)
    server.next_event()
    header = server.send(ANSWER)
    body = b"".join(server.send(Data(payload=payload)) for payload in PAYLOADS)
    return header, body + server.send(EndOfStream())


def _plain_header(kind: Kind) -> bytes:
    header = ResponseHeader(
        response_auth=_start(kind)[0]._response_auth,
        options=ANSWER.options,
        switch_account=ANSWER.switch_account,
    )
    return encode_response_header(header, kind.dialect)


def _seeds() -> Iterator[bytes]:
    for index, kind in enumerate(KINDS):
        header, body = _answer(kind)
        yield bytes((index,)) + b"w" + header + body
        plain = _plain_header(kind)
        yield bytes((index,)) + b"h" + bytes((len(plain),)) + plain + body


if len(KINDS) > _KINDS_MAX:
    raise ValueError("one byte does not choose among so many kinds")

SEEDS: Final = tuple(_seeds())
KEYS: Final = tuple(_start(kind)[0]._response_keys for kind in KINDS)


def to_wire(data: bytes) -> tuple[bytes, Kind]:
    """Return what the input stands for, and the request that it answers."""
    index = data[0] % len(KINDS) if data else 0
    kind, keys = KINDS[index], KEYS[index]
    form, rest = data[1:2], data[2:]
    if form != b"h" or not rest:
        return rest, kind
    size = rest[0]
    plain, body = rest[1 : 1 + size], rest[1 + size :]
    if kind.is_aead:
        return seal_response_header(plain, keys) + body, kind
    # A CFB body comes out as noise where the header has not its own length: so be it.
    return cfb_encryptor(keys.key, keys.iv).update(plain) + body, kind


def converse(pieces: list[bytes], kind: Kind) -> Outcome:
    """Play a server that sends these pieces and closes."""
    client, sent = _start(kind)
    outcome = Outcome(sent=sent)
    try:
        for piece in [*pieces, b""]:
            client.receive_data(piece)
            while (event := client.next_event()) is not NEED_DATA:
                outcome.take(event)
    except RemoteProtocolError as exc:
        outcome.error = exc
    if outcome.error is None and outcome.end is None:
        raise ValueError(f"the server is gone, and nothing says so: {outcome}")
    check_end(outcome, client)
    outcome.sent += _goodbye(client)
    return outcome


def _goodbye(client: ClientConnection) -> bytes:
    """Send on, whatever became of the other direction; and nothing behind the end."""
    sent = client.send(Data(payload=b"thank you")) + client.send(EndOfStream())
    try:
        client.send(Data(payload=b"one thing more"))
    except LocalProtocolError:
        return sent
    raise ValueError("a client spoke behind its own end")


def converse_early(pieces: list[bytes], kind: Kind) -> Outcome:
    """Do the same with codecs that were taken before the server answered."""
    client, sent = _start(kind)
    outcome = Outcome(sent=sent)
    body = client.hand_over_early(outcome.take)
    try:
        pump(body, iter(pieces), outcome)
    except RemoteProtocolError as exc:
        outcome.error = exc
    return outcome


def converse_late(pieces: list[bytes], kind: Kind) -> Outcome:
    """Do the same with codecs that were taken as soon as the server had answered."""
    client, sent = _start(kind)
    outcome = Outcome(sent=sent)
    rest = iter([*pieces, b""])
    try:
        for piece in rest:
            client.receive_data(piece)
            if (event := client.next_event()) is not NEED_DATA:
                outcome.take(event)
                pump(client.hand_over(), rest, outcome)
                return outcome
    except RemoteProtocolError as exc:
        outcome.error = exc
    return outcome


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `RemoteProtocolError` comes out; two equal runs say the same; how the bytes are
    split changes nothing, nor who drives the codecs; only the server that has the keys is believed;
    and under an AEAD nothing is passed on that was not sent.
    """
    wire, kind = to_wire(data)
    runs = [converse(pieces_of(wire, cut), kind) for cut in (CUTS[0], *CUTS)]
    handed = [converse_early(pieces_of(wire, cut), kind) for cut in CUTS]
    handed += [converse_late(pieces_of(wire, cut), kind) for cut in CUTS]
    request = kind.request()
    if not isinstance(runs[0].header, Response | None):
        raise TypeError(f"a server cannot say {runs[0].header}")
    for run in runs[1:]:
        compare(runs[0], run, request=request, dialect=kind.dialect)
    for run in handed[1:]:
        compare(handed[0], run, request=request, dialect=kind.dialect)
    handed[0].sent = runs[0].sent
    compare(runs[0], handed[0], request=request, dialect=kind.dialect)
    if data[1:2] == b"h":
        return
    if kind.is_aead and runs[0].header not in (None, ANSWER):
        raise ValueError(f"nobody sent this: {runs[0].header}")
    if kind.security.is_aead:
        for run in runs + handed:
            check_unaltered(run, are_datagrams=has_boundaries(request, kind.dialect))
