"""A recording from beginning to end: which connections are in it, and what they say."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final, TypeAlias

import attrs

from trio_vmess.core.dissection import (
    Direction,
    Dissector,
    EndedBy,
    Finding,
    Item,
    UserHashSearch,
)
from trio_vmess.core.vmess import V2RAY, Account, Dialect
from trio_vmess.diagnosis.decode.hex_text import read_hex
from trio_vmess.diagnosis.decode.reassembly import Connection, Event, Piece, Reassembler
from trio_vmess.diagnosis.decode.segments import Segment, SkippedPacket, show_endpoint
from trio_vmess.diagnosis.decode.source import Source
from trio_vmess.errors import RecordingError

_EARLY_MAX_OF_TEXT: Final = 16 * 1024 * 1024
"""In a text, the server's bytes may stand before the client's."""


@attrs.frozen(kw_only=True)
class RecordedConnection:
    """A connection of the recording; comes before all that is found in it.

    Attributes:
        number: counted from 1.
        client: its end of the connection, as `address:port`; empty for hex text.
        server: the other end.
        time: UTC seconds at which it begins; None for hex text.
        has_beginning: False if the capture has begun later.
    """

    number: int
    client: str = ""
    server: str = ""
    time: float | None = None
    has_beginning: bool = True


@attrs.frozen(kw_only=True)
class Record:
    """Something that was found.

    Attributes:
        connection: the connection's number.
        direction: which way the bytes went.
        finding: what it is.
    """

    connection: int
    direction: Direction
    finding: Finding


@attrs.frozen(kw_only=True)
class Summary:
    """What was in the recording as a whole; comes last.

    Attributes:
        connections: how many had any bytes.
        recognised: how many of them had a request header of this id.
        skipped: packets of a capture without a TCP segment: how many, by what they are.
    """

    connections: int
    recognised: int
    skipped: Mapping[str, int]


Entry: TypeAlias = RecordedConnection | Record | Summary


@attrs.frozen(kw_only=True)
class Reading:
    """How a recording is to be read.

    Attributes:
        account: the user, with as many alter ids as are to be tried.
        now: UTC seconds of this moment: what hex text is compared with.
        time: UTC seconds to be used in place of that, and of a capture's own times.
        dialect: which VMess is spoken.
    """

    account: Account
    now: int
    time: int | None = None
    dialect: Dialect = V2RAY


def decode(file: BinaryIO, reading: Reading) -> Iterator[Entry]:
    """Yield what is in a recording, in its order; connections of a capture take turns.

    Args:
        file: a capture (pcap or pcapng), or hex text; need not be seekable.
        reading: how to read it.

    Raises:
        RecordingError: it is neither, or damaged.
        ModuleNotFoundError: captures need the extra `decode`; the text says so.
    """
    source = Source(file)
    if source.is_compressed:
        raise RecordingError("the file is compressed; unpack it first")
    return (_read_capture if source.is_capture else _read_text)(source, reading)


def _read_text(source: Source, reading: Reading) -> Iterator[Entry]:
    account = reading.account
    hashes = UserHashSearch(account)
    dissector = Dissector(account, hashes, dialect=reading.dialect, early_max=_EARLY_MAX_OF_TEXT)
    now = reading.now if reading.time is None else reading.time
    count = 0
    for direction, data in read_hex(source):
        if not count:
            count = 1
            yield RecordedConnection(number=1)
        yield from _records(1, dissector.receive(direction, data, now=now))
    for direction in Direction if count else ():
        yield from _records(1, dissector.end(direction, EndedBy.INPUT))
    yield Summary(connections=count, recognised=int(dissector.request is not None), skipped={})


def _records(connection: int, items: Iterable[Item]) -> Iterator[Record]:
    for direction, finding in items:
        yield Record(connection=connection, direction=direction, finding=finding)


# Captures -----------------------------------------------------------------------------------------


def _read_capture(source: Source, reading: Reading) -> Iterator[Entry]:
    # The library that it needs is loaded here alone.
    from trio_vmess.diagnosis.decode.packets import read_segments

    capture = _Capture(reading)
    skipped: Counter[str] = Counter()
    for packet in read_segments(source):
        if isinstance(packet, SkippedPacket):
            skipped[packet.reason] += 1
        else:
            yield from capture.receive(packet)
    yield from capture.end()
    yield Summary(connections=capture.count, recognised=capture.recognised, skipped=skipped)


class _Capture:
    """The connections of a capture, each with its dissector.

    Attributes:
        count: how many connections had any bytes.
        recognised: how many of them had a request header of this id.
    """

    def __init__(self, reading: Reading) -> None:
        self.count = 0
        self.recognised = 0
        self._reading = reading
        self._hashes = UserHashSearch(reading.account)
        self._reassembler = Reassembler()
        self._dissectors: dict[Connection, tuple[int, Dissector]] = {}
        self._now = reading.now

    def receive(self, segment: Segment) -> Iterator[Entry]:
        self._now = int(segment.time) if self._reading.time is None else self._reading.time
        for event in self._reassembler.receive(segment):
            yield from self._follow(event)

    def end(self) -> Iterator[Entry]:
        for event in self._reassembler.end():
            yield from self._follow(event)

    def _follow(self, event: Event) -> Iterator[Entry]:
        connection, direction, what = event
        found = self._dissectors.get(connection)
        if found is None:
            # One without bytes, or with no more of them, is not worth a line.
            if not isinstance(what, Piece) or not connection.is_followed:
                return
            found = self._begin(connection)
            yield RecordedConnection(
                number=found[0],
                client=show_endpoint(connection.client),
                server=show_endpoint(connection.server),
                time=connection.time,
                has_beginning=connection.has_beginning,
            )
        number, dissector = found
        had_request = dissector.request is not None
        if isinstance(what, Piece):
            yield from _records(number, dissector.receive(direction, what.data, now=self._now))
            if what.missing:
                yield from _records(number, dissector.skip(direction, what.missing))
        else:
            yield from _records(number, dissector.end(direction, what))
        self.recognised += dissector.request is not None and not had_request
        if dissector.is_over:
            self._reassembler.ignore(connection)
            del self._dissectors[connection]

    def _begin(self, connection: Connection) -> tuple[int, Dissector]:
        self.count += 1
        dissector = Dissector(self._reading.account, self._hashes, dialect=self._reading.dialect)
        self._dissectors[connection] = self.count, dissector
        return self.count, dissector
