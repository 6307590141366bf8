"""From TCP segments to the bytes of each direction, in order and each once.

Segments may come in any order, several times, with overlaps, and not at all. What is missing is
given up when the connection ends, or when too much waits for it.
"""

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

import attrs

from trio_vmess.core.dissection import Direction, EndedBy
from trio_vmess.diagnosis.decode.segments import Endpoint, Segment

_SEQUENCES: Final = 1 << 32

CONNECTIONS_MAX: Final = 1024
"""Connections that are followed at a time; beyond that, the one that was silent longest is not."""

WAITING_MAX: Final = 4 * 1024 * 1024
"""Bytes that wait, in one direction, for others that are missing."""

ALL_WAITING_MAX: Final = 64 * 1024 * 1024
"""Bytes that wait in all directions."""

_WAITING_OVERHEAD: Final = 256
"""What a segment that waits counts for besides its bytes."""


class Piece(NamedTuple):
    """The next bytes of a direction.

    Attributes:
        data: as they were sent.
        missing: how many bytes behind them are not in the capture.
    """

    data: bytes
    missing: int


class _Waiting(NamedTuple):
    position: int
    data: bytes
    missing: int

    @property
    def size(self) -> int:
        return _WAITING_OVERHEAD + len(self.data)

    @property
    def end(self) -> int:
        return self.position + len(self.data) + self.missing


class Half:
    """One direction of a connection; positions count its bytes from the first."""

    def __init__(self) -> None:
        self._first: int | None = None  # the sequence number of position 0
        self._next = 0
        self._end: int | None = None  # where its FIN is
        self._waiting: list[_Waiting] = []
        self.waiting_size = 0

    @property
    def has_begun(self) -> bool:
        """Whether it is known where position 0 is."""
        return self._first is not None

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the FIN was returned."""
        return self._end is not None and self._next >= self._end

    def begins_at(self, sequence: int) -> bool:
        """Say whether position 0 has this sequence number."""
        return self._first == sequence

    def begin(self, sequence: int) -> None:
        """Set the sequence number of position 0; only the first call counts."""
        if self._first is None:
            self._first = sequence

    def add(self, segment: Segment) -> Iterator[Piece]:
        """Take a segment's data and its FIN; yield what is in order now."""
        sequence = (segment.sequence + segment.syn) % _SEQUENCES
        self.begin(sequence)
        position = self._locate(sequence)
        new = _Waiting(position, segment.data, segment.missing)
        if segment.fin:
            self._end = new.end
        if new.end > self._next:
            bisect.insort(self._waiting, new)
            self.waiting_size += new.size
            yield from self._take()

    def give_up_gap(self) -> Iterator[Piece]:
        """Go on behind what is missing."""
        if self._waiting:
            missing = self._waiting[0].position - self._next
            self._next += missing
            yield Piece(b"", missing)
            yield from self._take()

    def give_up_all(self) -> Iterator[Piece]:
        """Yield all that waits."""
        while self._waiting:
            yield from self.give_up_gap()

    def forget(self) -> None:
        """Drop all that waits."""
        self._waiting.clear()
        self.waiting_size = 0

    def _locate(self, sequence: int) -> int:
        # The next one is near, on either side.
        distance = (sequence - (self._first or 0) - self._next) % _SEQUENCES
        return self._next + (distance if distance < _SEQUENCES // 2 else distance - _SEQUENCES)

    def _take(self) -> Iterator[Piece]:
        while self._waiting and self._waiting[0].position <= self._next:
            first = self._waiting.pop(0)
            self.waiting_size -= first.size
            if first.end <= self._next:
                continue
            data = first.data[self._next - first.position :]
            missing = first.end - self._next - len(data)
            self._next = first.end
            yield Piece(data, missing)


@attrs.define(eq=False)
class Connection:
    """One connection of a capture.

    Attributes:
        number: counted from 1, in the order of the first packets.
        client: who has opened it; where that is not in the capture, who sent data first.
        server: the other end.
        time: UTC seconds of its first packet.
        has_beginning: its opening is in the capture.
    """

    number: int
    client: Endpoint
    server: Endpoint
    time: float
    has_beginning: bool
    _halves: dict[Direction, Half] = attrs.field(
        init=False, factory=lambda: {direction: Half() for direction in Direction}
    )
    _ended: set[Direction] = attrs.field(init=False, factory=set[Direction])
    _is_ignored: bool = attrs.field(init=False, default=False)

    @property
    def is_followed(self) -> bool:
        """False once it was ignored."""
        return not self._is_ignored

    @property
    def waiting_size(self) -> int:
        """Bytes that wait in both directions."""
        return sum(half.waiting_size for half in self._halves.values())

    def ignore(self) -> None:
        """Keep nothing more, and yield nothing more."""
        self._is_ignored = True
        for half in self._halves.values():
            half.forget()

    def is_opened_anew_by(self, segment: Segment) -> bool:
        """Say whether a segment opens another connection between the same ports."""
        uplink = self._halves[Direction.UPLINK]
        if not segment.syn or segment.ack or not uplink.has_begun:
            return False
        is_same = uplink.begins_at((segment.sequence + 1) % _SEQUENCES)
        return not (is_same and segment.source == self.client)

    def receive(self, segment: Segment) -> "Iterator[Event]":
        """Yield what is in order with a segment."""
        if self._is_ignored:
            return
        if segment.rst:
            yield from self.end(EndedBy.RST)
            return
        direction = Direction.UPLINK if segment.source == self.client else Direction.DOWNLINK
        half = self._halves[direction]
        if direction in self._ended:
            return
        if segment.syn or segment.data or segment.missing or segment.fin:
            for piece in half.add(segment):
                yield Event(self, direction, piece)
            while half.waiting_size > WAITING_MAX:
                for piece in half.give_up_gap():
                    yield Event(self, direction, piece)
        if half.is_complete:
            self._ended.add(direction)
            yield Event(self, direction, EndedBy.FIN)

    def give_up_gaps(self) -> "Iterator[Event]":
        """Yield all that waits."""
        for direction, half in self._halves.items():
            for piece in half.give_up_all():
                yield Event(self, direction, piece)

    def end(self, by: EndedBy) -> "Iterator[Event]":
        """Yield all that waits, and the end of each direction that has not ended."""
        if self._is_ignored:
            return
        yield from self.give_up_gaps()
        for direction in Direction:
            if direction not in self._ended:
                self._ended.add(direction)
                yield Event(self, direction, by)


class Event(NamedTuple):
    """What is next in one direction of one connection: bytes, or its end."""

    connection: Connection
    direction: Direction
    what: Piece | EndedBy


class Reassembler:
    """Follows all connections of a capture."""

    def __init__(self) -> None:
        self._connections: OrderedDict[tuple[Endpoint, ...], Connection] = OrderedDict()
        self._count = 0
        self._waiting_size = 0

    def receive(self, segment: Segment) -> list[Event]:
        """Take the next segment of the capture; return what is in order with it."""
        events: list[Event] = []
        key = tuple(sorted((segment.source, segment.target)))
        connection = self._connections.get(key)
        if connection is not None and connection.is_opened_anew_by(segment):
            events += self._close(key, EndedBy.REPLACED)
            connection = None
        if connection is None:
            if not (segment.syn or segment.data or segment.missing):
                return events
            if len(self._connections) >= CONNECTIONS_MAX:
                events += self._close(next(iter(self._connections)), EndedBy.FORGOTTEN)
            connection = self._connections[key] = self._open(segment)
        self._connections.move_to_end(key)
        before = connection.waiting_size
        events += connection.receive(segment)
        self._waiting_size += connection.waiting_size - before
        if self._waiting_size > ALL_WAITING_MAX:
            self._waiting_size -= connection.waiting_size
            events += connection.give_up_gaps()
        return events

    def ignore(self, connection: Connection) -> None:
        """Keep nothing more of a connection, and return nothing more."""
        self._waiting_size -= connection.waiting_size
        connection.ignore()

    def end(self) -> Iterator[Event]:
        """Yield what is left at the end of the capture."""
        while self._connections:
            yield from self._close(next(iter(self._connections)), EndedBy.INPUT)

    def _open(self, segment: Segment) -> Connection:
        self._count += 1
        client, server = segment.source, segment.target
        if segment.syn and segment.ack:
            client, server = server, client
        return Connection(
            number=self._count,
            client=client,
            server=server,
            time=segment.time,
            has_beginning=segment.syn,
        )

    def _close(self, key: tuple[Endpoint, ...], by: EndedBy) -> list[Event]:
        connection = self._connections.pop(key)
        self._waiting_size -= connection.waiting_size
        return list(connection.end(by))
