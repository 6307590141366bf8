"""Both directions of one connection: headers first, then bodies."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.dissection.chunks import ChunkFinding, ChunkWalker
from trio_vmess.core.dissection.contents import ContentReader, choose_content_reader
from trio_vmess.core.dissection.findings import (
    BodyFinding,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    GapFound,
    Item,
    RequestFound,
    Unreadable,
    Unrecognised,
)
from trio_vmess.core.dissection.headers import (
    REQUEST_MAX,
    RESPONSE_MAX,
    RequestReader,
    ResponseReader,
)
from trio_vmess.core.dissection.user_hash import UserHashSearch
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.body import BodyPlan
from trio_vmess.core.vmess.constants import AUTH_SIZE, Security
from trio_vmess.core.vmess.dialect import V2RAY, Dialect
from trio_vmess.core.vmess.events import HeaderForm
from trio_vmess.core.vmess.security import BodyKeys, choose_framing, derive_response_keys

EARLY_MAX: Final = 64 * 1024
"""Bytes of an answer that are kept until its request is known."""


class _Body:
    """One direction behind its header: the chunks, and what they carry."""

    def __init__(self, walker: ChunkWalker, read_content: ContentReader) -> None:
        self._walker = walker
        self._read_content = read_content
        self.end = walker.end

    def receive(self, data: bytes) -> Iterator[BodyFinding]:
        return self._with_contents(self._walker.receive(data))

    def skip(self, size: int) -> Iterator[BodyFinding]:
        return self._with_contents(self._walker.skip(size))

    def _with_contents(self, findings: Iterator[ChunkFinding]) -> Iterator[BodyFinding]:
        for finding in findings:
            yield finding
            yield from self._read_content(finding)


@attrs.define(eq=False)
class _Side:
    """One direction: what is known of it so far.

    Attributes:
        size: its bytes up to now.
        held: those in front of a body, until the header is whole.
        body: what reads on behind the header.
        lost_at: where it became unreadable, if that was in front of a body.
        ended: what has ended it.
    """

    size: int = 0
    held: bytearray = attrs.field(factory=bytearray)
    body: _Body | None = None
    lost_at: int | None = None
    ended: EndedBy | None = None

    def lose(self, offset: int) -> None:
        self.lost_at = offset
        self.held.clear()

    def describe_end(self, by: EndedBy) -> DirectionEnd:
        if self.body is not None:
            return self.body.end(by)
        state, unread = EndState.IN_HEADER, 0
        if not self.size:
            state = EndState.NOTHING
        elif self.lost_at is not None:
            state, unread = EndState.UNREADABLE, self.size - self.lost_at
        return DirectionEnd(
            offset=self.size, by=by, state=state, held=len(self.held), unread=unread
        )


class Dissector:
    """Reads one recorded connection.

        dissector = Dissector(account, UserHashSearch(account))
        dissector.receive(Direction.UPLINK, data, now=now)
        dissector.receive(Direction.DOWNLINK, data, now=now)
        dissector.end(Direction.UPLINK, EndedBy.FIN)

    Nothing that is in the bytes raises: what cannot be read is a finding, too. What is kept is
    bounded: a header, a chunk and a frame of each direction, and `early_max` bytes of an answer
    that comes before its request.

    Args:
        account: the user; its alter ids are those that legacy headers are looked up under.
        hashes: of the same account; may be shared by many connections.
        dialect: which VMess is spoken.
        early_max: see above.
    """

    def __init__(
        self,
        account: Account,
        hashes: UserHashSearch,
        *,
        dialect: Dialect = V2RAY,
        early_max: int = EARLY_MAX,
    ) -> None:
        self._dialect = dialect
        self._early_max = early_max
        self._uplink, self._downlink = _Side(), _Side()
        self._request_reader = RequestReader(account, dialect, hashes)
        self._response_reader: ResponseReader | None = None
        self._request: RequestFound | None = None
        self._packetaddr_sessions: set[int] = set()
        self._is_recognised = True

    @property
    def is_recognised(self) -> bool:
        """False once it is certain that the connection is not one that the id can read."""
        return self._is_recognised

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be found."""
        has_ended = None not in (self._uplink.ended, self._downlink.ended)
        return has_ended or not self._is_recognised

    @property
    def request(self) -> RequestFound | None:
        """The request header, once it was read."""
        return self._request

    def receive(self, direction: Direction, data: bytes, *, now: int) -> Sequence[Item]:
        """Take bytes of one direction.

        Args:
            direction: which way they went.
            data: any number of them.
            now: UTC seconds at which they were recorded.

        Returns:
            What is known with them; of both directions, where an answer came before its request.
        """
        if not data or not self._is_recognised:
            return ()
        return list(self._receive(direction, data, now))

    def skip(self, direction: Direction, size: int) -> Sequence[Item]:
        """Note that the recording lacks bytes of one direction."""
        return list(self._skip(direction, size)) if self._is_recognised else ()

    def end(self, direction: Direction, by: EndedBy) -> Sequence[Item]:
        """Note that a direction has ended; doing so again is ignored.

        The end of an answer is reported when its request was read, or has ended, too.
        """
        side = self._side(direction)
        if side.ended is not None or not self._is_recognised:
            return ()
        side.ended = by
        is_early = direction is Direction.DOWNLINK and self._awaits_request
        if is_early and self._uplink.ended is None:
            return ()
        items: list[Item] = [(direction, side.describe_end(by))]
        if direction is Direction.UPLINK and self._awaits_request:
            items += self._end_early_answer()
        return items

    @property
    def _awaits_request(self) -> bool:
        return self._request is None and self._uplink.lost_at is None

    def _side(self, direction: Direction) -> _Side:
        return self._uplink if direction is Direction.UPLINK else self._downlink

    def _receive(self, direction: Direction, data: bytes, now: int) -> Iterator[Item]:
        side = self._side(direction)
        side.size += len(data)
        if side.body is not None:
            for finding in side.body.receive(data):
                yield direction, finding
        elif side.lost_at is None:
            side.held += data
            if direction is Direction.UPLINK:
                yield from self._read_request(now)
            else:
                yield from self._read_response()

    def _skip(self, direction: Direction, size: int) -> Iterator[Item]:
        side = self._side(direction)
        offset = side.size
        if direction is Direction.UPLINK and self._awaits_request and len(side.held) < AUTH_SIZE:
            self._is_recognised = False
            yield direction, Unrecognised(reason="the recording lacks the beginning")
            return
        yield direction, GapFound(offset=offset, size=size)
        side.size += size
        if side.body is not None:
            for finding in side.body.skip(size):
                yield direction, finding
        elif side.lost_at is None:
            yield from self._lose(
                direction,
                Unreadable(offset=offset, reason="the recording lacks a part of the header"),
            )

    def _lose(self, direction: Direction, finding: Unreadable) -> Iterator[Item]:
        self._side(direction).lose(finding.offset)
        yield direction, finding
        if direction is Direction.UPLINK:
            # Nothing of the answer can be read without the keys in the request.
            self._downlink.lose(0)
            yield from self._end_early_answer()

    def _end_early_answer(self) -> Iterator[Item]:
        """Report the end of an answer that had to wait for its request."""
        if self._request is None:
            self._downlink.lose(0)
        if self._downlink.ended is not None:
            yield Direction.DOWNLINK, self._downlink.describe_end(self._downlink.ended)

    # Request ------------------------------------------------------------------------------------

    def _read_request(self, now: int) -> Iterator[Item]:
        side = self._uplink
        found = self._request_reader.read(bytes(side.held[:REQUEST_MAX]), now=now)
        if found is NEED_DATA:
            return
        if isinstance(found, Unrecognised):
            self._is_recognised = False
            self._downlink.held.clear()
            yield Direction.UPLINK, found
        elif isinstance(found, Unreadable):
            yield from self._lose(Direction.UPLINK, found)
        else:
            yield Direction.UPLINK, found
            yield from self._begin_bodies(found)

    def _begin_bodies(self, found: RequestFound) -> Iterator[Item]:
        self._request = found
        header = found.header
        keys = BodyKeys(key=header.body_key, iv=header.body_iv)
        plan = self._plan(found, keys)
        reader = choose_content_reader(header, self._packetaddr_sessions)
        body = _Body(ChunkWalker(plan, keys, offset=found.size), reader)
        self._uplink.body = body
        rest = bytes(self._uplink.held[found.size :])
        self._uplink.held.clear()
        if rest:
            for finding in body.receive(rest):
                yield Direction.UPLINK, finding
        self._response_reader = ResponseReader(self._response_keys(found), found, self._dialect)
        if self._downlink.held:
            yield from self._read_response()
        yield from self._end_early_answer()

    def _plan(self, found: RequestFound, keys: BodyKeys) -> BodyPlan:
        header = found.header
        return BodyPlan(
            security=header.security,
            framing=choose_framing(header.options, header.security, header.command, self._dialect),
            request=keys,
            dialect=self._dialect,
        )

    def _response_keys(self, found: RequestFound) -> BodyKeys:
        keys = BodyKeys(key=found.header.body_key, iv=found.header.body_iv)
        return derive_response_keys(keys, aead_header=found.form is HeaderForm.AEAD)

    # Response -----------------------------------------------------------------------------------

    def _read_response(self) -> Iterator[Item]:
        side, reader, request = self._downlink, self._response_reader, self._request
        if reader is None or request is None:
            if len(side.held) > self._early_max:
                reason = f"the server sent {len(side.held)} bytes before there was a request"
                yield from self._lose(Direction.DOWNLINK, Unreadable(offset=0, reason=reason))
            return
        found = reader.read(bytes(side.held[:RESPONSE_MAX]))
        if found is NEED_DATA:
            return
        if isinstance(found, Unreadable):
            yield from self._lose(Direction.DOWNLINK, found)
            return
        yield Direction.DOWNLINK, found
        header, keys = request.header, self._response_keys(request)
        # A CFB body behind a legacy header continues the header's stream.
        cipher = reader.cipher if header.security is Security.AES_128_CFB else None
        plan = self._plan(request, BodyKeys(key=header.body_key, iv=header.body_iv))
        walker = ChunkWalker(plan, keys, offset=found.size, cipher=cipher)
        side.body = _Body(walker, choose_content_reader(header, self._packetaddr_sessions))
        rest = bytes(side.held[found.size :])
        side.held.clear()
        if rest:
            for finding in side.body.receive(rest):
                yield Direction.DOWNLINK, finding
