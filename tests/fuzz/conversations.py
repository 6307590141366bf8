"""What the two VMess fuzz targets share: recorded conversations, and how they are compared.

Every conversation follows from its seed, so each run of a target begins with the same bytes.
"""

import random
import zlib
from collections.abc import Iterator
from typing import Final

import attrs

from tests.kit.entropy import SeededEntropy
from tests.kit.pair import NOW, account
from trio_vmess.core import Destination, Network
from trio_vmess.core.vmess import (
    DOCUMENT,
    MUX_DESTINATION,
    V2RAY,
    Account,
    ClientConnection,
    Command,
    Data,
    Dialect,
    EndOfStream,
    Event,
    PacketBody,
    Request,
    Response,
    Security,
    ServerConnection,
    StreamBody,
    SwitchAccount,
    UserRegistry,
)
from trio_vmess.core.vmess.security import choose_framing
from trio_vmess.errors import AuthenticationError, Refusal, RemoteProtocolError

PAYLOADS: Final = (b"hello", bytes(range(256)), b"\0" * 300, b"x")

_HOSTS: Final = {
    Command.TCP: Destination(host="example.com", port=443),
    Command.UDP: Destination(host="192.0.2.1", port=53, network=Network.UDP),
    Command.MUX: MUX_DESTINATION,
}

_BODIES: Final = (
    (Security.AES_128_GCM, 0x0D),
    (Security.AES_128_GCM, 0x1D),
    (Security.AES_128_GCM, 0x00),
    (Security.CHACHA20_POLY1305, 0x05),
    (Security.CHACHA20_POLY1305, 0x1D),
    (Security.AES_128_CFB, 0x01),
    (Security.AES_128_CFB, 0x0D),
    (Security.AES_128_CFB, 0x00),
    (Security.NONE, 0x0D),
    (Security.NONE, 0x01),
    (Security.NONE, 0x00),
)


@attrs.frozen(kw_only=True)
class Kind:
    """One way in which the two ends can talk.

    Attributes:
        dialect: of both.
        alter_id_count: above 0, the header is legacy.
        command: what the client wants.
        security: how the body is protected.
        options: bits of the request.
        seed: of the client's entropy; the server's is one more.
    """

    dialect: Dialect
    alter_id_count: int
    command: Command
    security: Security
    options: int
    seed: int

    @property
    def is_aead(self) -> bool:
        """The header is sealed."""
        return self.dialect.has_aead_header and not self.alter_id_count

    @property
    def who(self) -> Account:
        """The user."""
        return account(self.alter_id_count)

    def request(self) -> Request:
        """Return the request."""
        return Request(
            account=self.who,
            destination=_HOSTS[self.command],
            command=self.command,
            security=self.security,
            options=self.options,
            timestamp=NOW,
        )

    def new_client(self) -> ClientConnection:
        """Return a client that draws the same every time."""
        return ClientConnection(entropy=SeededEntropy(self.seed), dialect=self.dialect)

    def new_users(self) -> UserRegistry:
        """Return a registry that knows the user."""
        legacy = self.dialect.main_id_authenticates
        return UserRegistry([self.who], legacy_without_alter_ids=legacy)


def _kinds() -> Iterator[Kind]:
    seed = 0
    for dialect, alter_id_count in ((V2RAY, 0), (V2RAY, 2), (DOCUMENT, 0)):
        for command in sorted(dialect.commands):
            for security, options in _BODIES:
                seed += 10
                if dialect.needs_chunk_stream and security.is_aead and not options & 1:
                    continue
                yield Kind(
                    dialect=dialect,
                    alter_id_count=alter_id_count,
                    command=command,
                    security=security,
                    options=options,
                    seed=seed,
                )


KINDS: Final = tuple(_kinds())

ANSWER: Final = Response(
    options=1, switch_account=SwitchAccount(port=4096, user_id=bytes(range(16)), minutes=5)
)


@attrs.define(kw_only=True)
class Outcome:
    """All that one side can see of a conversation, and all that it says.

    Attributes:
        header: the peer's header event.
        payloads: what the Data events held, in order.
        end: the peer's end.
        error: what broke the conversation.
        sent: what this side sent.
    """

    header: Event | None = None
    payloads: list[bytes] = attrs.Factory(list)
    end: EndOfStream | None = None
    error: RemoteProtocolError | None = None
    sent: bytes = b""

    def take(self, event: Event) -> None:
        """Note an event; it must be one that may come now."""
        if self.end is not None or (self.header is None) is isinstance(event, Data | EndOfStream):
            raise ValueError(f"out of order: {event}")
        match event:
            case Data(payload=payload):
                self.payloads.append(payload)
            case EndOfStream():
                self.end = event
            case _:
                self.header = event


def pieces_of(data: bytes, cut: int | None) -> list[bytes]:
    """Split `data`: every `cut` bytes, or at places that look random and follow from the data."""
    if cut is not None:
        return [data[start : start + cut] for start in range(0, len(data), cut)]
    choice = random.Random(zlib.crc32(data))
    pieces = []
    start = 0
    while start < len(data):
        stop = start + choice.choice((1, 2, 15, 16, 17, 40, 150, 400))
        pieces.append(data[start:stop])
        start = stop
    return pieces


CUTS: Final = (1 << 20, None, 1)
"""The splits that are tried: none, random pieces, single bytes."""


def pump(body: StreamBody | PacketBody, pieces: Iterator[bytes], outcome: Outcome) -> None:
    """Open what is left of a conversation through the codec that was handed over."""
    opener = body.opener
    for piece in (body.trailing, *pieces):
        if not piece:
            continue
        if isinstance(body, PacketBody):
            outcome.payloads += body.opener.open(piece)
            continue
        out = memoryview(bytearray(body.opener.output_size(len(piece))))
        if written := body.opener.update_into(piece, out):
            outcome.payloads.append(bytes(out[:written]))
    if not opener.ended:
        if isinstance(body, PacketBody):
            body.opener.finalize()
        else:
            body.opener.finalize_into(memoryview(b""))
    outcome.end = EndOfStream(explicit=opener.ended)


def has_boundaries(request: Request, dialect: Dialect) -> bool:
    """Say whether each payload is a datagram, rather than any piece of a stream."""
    framing = choose_framing(request.options, request.security, request.command, dialect)
    return framing.packets and framing.chunked


def _face(error: RemoteProtocolError | None) -> object:
    """Return what must not depend on how the bytes came."""
    if not isinstance(error, AuthenticationError):
        return type(error)
    # What strays here is recognised by what has come so far: only the log shows the difference.
    if error.reason is Refusal.FOREIGN_PROTOCOL:
        return Refusal.UNKNOWN_USER
    return error.reason


def compare(one: Outcome, other: Outcome, *, request: Request | None, dialect: Dialect) -> None:
    """Raise unless two runs with the same bytes, split in two ways, say the same.

    Where the conversation breaks, the payload in front of the fault is passed on or not, depending
    on whether it came in one piece with it.
    """
    first, second = one.payloads, other.payloads
    if request is None or not has_boundaries(request, dialect):
        first, second = [b"".join(first)], [b"".join(second)]
    same = first == second
    if one.error is not None and not same:
        # Joined payloads are prefixes of each other; datagrams are, one by one.
        short, long = sorted((first, second), key=lambda each: (len(each), sum(map(len, each))))
        same = long[: len(short)] == short or long[0].startswith(short[0])
    if (
        not same
        or one.header != other.header
        or one.end != other.end
        or one.sent != other.sent
        or _face(one.error) != _face(other.error)
    ):
        raise ValueError(f"the split matters: {one} and {other}")


def check_unaltered(outcome: Outcome, *, are_datagrams: bool) -> None:
    """Raise if there is payload that its sender never sent."""
    if are_datagrams:
        genuine = list(PAYLOADS[: len(outcome.payloads)]) == outcome.payloads
    else:
        genuine = b"".join(PAYLOADS).startswith(b"".join(outcome.payloads))
    if not genuine:
        raise ValueError(f"altered payload under an AEAD: {outcome}")


def check_end(outcome: Outcome, connection: ClientConnection | ServerConnection) -> None:
    """Raise unless the connection has come to rest: an error stays, and an end stays."""
    if outcome.error is None:
        return
    try:
        connection.next_event()
    except RemoteProtocolError as exc:
        if (type(exc), str(exc)) != (type(outcome.error), str(outcome.error)):
            raise ValueError(f"{exc} after {outcome.error}") from exc
    else:
        raise ValueError(f"events go on after {outcome.error}")
