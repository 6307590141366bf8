"""Recordings of our own client and server, and a dissector that reads them."""

import functools
from collections.abc import Sequence
from typing import Final, TypeVar

import attrs

from tests.kit.pair import NOW, ConnectionPair, account, request
from trio_vmess.core import Destination, Network
from trio_vmess.core.dissection import (
    ChunkFound,
    Direction,
    Dissector,
    EndedBy,
    Finding,
    Item,
    RawFound,
    UserHashSearch,
)
from trio_vmess.core.vmess import (
    V2RAY,
    Account,
    Command,
    Data,
    Dialect,
    EndOfStream,
    Response,
    Security,
)

_Finding = TypeVar("_Finding", bound=Finding)

OPTIONS: Final = {
    "-": 0x00,
    "S": 0x01,
    "S+M": 0x05,
    "S+M+P": 0x0D,
    "S+A": 0x11,
    "S+M+A": 0x15,
    "S+M+P+A": 0x1D,
}

UPLINK_PIECES: Final = (b"hello", b"x" * 3000, b"bye")
DOWNLINK_PIECES: Final = (b"HTTP/1.1 200 OK\r\n\r\n", bytes(range(256)))


@attrs.frozen(kw_only=True)
class Recording:
    """Both directions of one connection, as they were on the wire."""

    account: Account
    uplink: bytes = attrs.field(repr=False)
    downlink: bytes = attrs.field(repr=False)


def record(
    security: Security = Security.AES_128_GCM,
    options: int = 0x0D,
    *,
    alter_id_count: int = 0,
    command: Command = Command.TCP,
    dialect: Dialect = V2RAY,
    uplink: Sequence[bytes] = UPLINK_PIECES,
    downlink: Sequence[bytes] = DOWNLINK_PIECES,
) -> Recording:
    """Let our client and our server talk; legacy headers have an alter id count above 0."""
    pair = ConnectionPair(alter_id_count=alter_id_count, dialect=dialect)
    network = Network.UDP if command is Command.UDP else Network.TCP
    asked = request(
        pair.account,
        security=security,
        options=options,
        command=command,
        destination=Destination(host="example.com", port=443, network=network),
    )
    sent = pair.client.send(asked)
    sent += b"".join(pair.client.send(Data(payload=piece)) for piece in uplink)
    sent += pair.client.send(EndOfStream())
    assert pair.users.prepare(NOW, budget=10**6)
    pair.server.receive_data(sent, now=NOW)
    pair.server.next_event()
    answer = pair.server.send(Response())
    answer += b"".join(pair.server.send(Data(payload=piece)) for piece in downlink)
    answer += pair.server.send(EndOfStream())
    return Recording(account=account(alter_id_count), uplink=sent, downlink=answer)


def make_dissector(who: Account, dialect: Dialect = V2RAY) -> Dissector:
    """Return a dissector for one user's connections."""
    return Dissector(who, _search(who), dialect=dialect)


# It remembers, so thousands of dissections take it together.
_search = functools.cache(UserHashSearch)


def dissect(
    who: Account,
    uplink: Sequence[bytes],
    downlink: Sequence[bytes] = (),
    *,
    now: int = NOW,
    dialect: Dialect = V2RAY,
) -> list[Item]:
    """Return all that is found, the client's bytes first."""
    dissector = make_dissector(who, dialect)
    items: list[Item] = []
    for direction, pieces in ((Direction.UPLINK, uplink), (Direction.DOWNLINK, downlink)):
        for piece in pieces:
            items += dissector.receive(direction, piece, now=now)
    for direction in Direction:
        items += dissector.end(direction, EndedBy.FIN)
    return items


def found(
    items: Sequence[Item], kind: type[_Finding], direction: Direction | None = None
) -> list[_Finding]:
    """Return the findings of one kind, of one direction or of both."""
    return [
        finding for way, finding in items if isinstance(finding, kind) and direction in (None, way)
    ]


def payload_of(items: Sequence[Item], direction: Direction) -> bytes:
    """Return the joined payload of one direction."""
    chunks = found(items, ChunkFound, direction)
    return b"".join(each.payload for each in chunks) or b"".join(
        each.payload for each in found(items, RawFound, direction)
    )
