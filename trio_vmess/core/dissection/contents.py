"""What payload is made of, where it is not simply a program's: frames of Mux, or packetaddr."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, assert_never

from trio_vmess.core.dissection.chunks import ChunkFinding
from trio_vmess.core.dissection.findings import (
    ChunkDamaged,
    ChunkFound,
    ContentUnreadable,
    DatagramFound,
    FrameFound,
    RawFound,
    Unreadable,
)
from trio_vmess.core.mux.frame import Frame, Keep, New
from trio_vmess.core.mux.reader import FrameReader
from trio_vmess.core.packetaddr import PACKETADDR_HOST, decode_packetaddr
from trio_vmess.core.vmess.constants import Command
from trio_vmess.core.vmess.header import MUX_HOST, RequestHeader
from trio_vmess.errors import RemoteProtocolError

ContentFinding: TypeAlias = FrameFound | DatagramFound | ContentUnreadable

ContentReader: TypeAlias = Callable[[ChunkFinding], Iterator[ContentFinding]]
"""Says what the payload of a chunk is, given all chunks of a direction one after the other."""


def choose_content_reader(header: RequestHeader, sessions: set[int]) -> ContentReader:
    """Return the reader of one direction of a body.

    Args:
        header: of the request.
        sessions: the sessions of a carrier that carry packetaddr; both directions share it, for
            only the client's says which they are.
    """
    host = header.destination.host
    # QUIRK: to V2Ray and Xray the name alone makes a request one for Mux (v2ray-core,
    # app/proxyman/inbound, and common/mux/server.go), so TCP to that name is Mux, too.
    if header.command is Command.MUX or (header.command is Command.TCP and host == MUX_HOST):
        return _FrameContents(sessions).read
    if header.command is Command.UDP and host == PACKETADDR_HOST:
        return _read_datagram
    return _read_nothing


def _read_nothing(_finding: ChunkFinding) -> Iterator[ContentFinding]:
    return iter(())


def _read_datagram(finding: ChunkFinding) -> Iterator[ContentFinding]:
    match finding:
        case ChunkFound(payload=payload) | RawFound(payload=payload):
            if payload:
                yield _decode_packetaddr(payload)
        case ChunkDamaged() | Unreadable():
            pass
        case _:
            assert_never(finding)


def _decode_packetaddr(data: bytes) -> DatagramFound | ContentUnreadable:
    try:
        peer, payload = decode_packetaddr(data)
    except RemoteProtocolError as exc:
        return ContentUnreadable(reason=str(exc))
    return DatagramFound(peer=peer, payload=payload)


class _Frames(FrameReader):
    """A reader that does not lose the frames in front of a fault."""

    __slots__ = ("read",)

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Frame] = []

    def _decode(self, metadata: bytes, data: bytes | None) -> Frame:
        frame = super()._decode(metadata, data)
        self.read.append(frame)
        return frame


class _FrameContents:
    """The frames of one direction; where chunks begin and end means nothing to them."""

    def __init__(self, sessions: set[int]) -> None:
        self._frames = _Frames()
        self._packetaddr_sessions = sessions
        self._is_lost = False

    def read(self, finding: ChunkFinding) -> Iterator[ContentFinding]:
        if self._is_lost:
            return
        match finding:
            case ChunkFound(payload=payload) | RawFound(payload=payload):
                fault = None
                try:
                    self._frames.receive_data(payload)
                except RemoteProtocolError as exc:
                    fault = str(exc)
                for frame in self._frames.read:
                    yield from self._describe(frame)
                self._frames.read.clear()
                if fault is not None:
                    yield self._lose(fault)
            case ChunkDamaged():
                yield self._lose("mux: nobody knows where the next frame begins")
            case Unreadable():
                pass
            case _:
                assert_never(finding)

    def _describe(self, frame: Frame) -> Iterator[ContentFinding]:
        yield FrameFound(frame=frame)
        if isinstance(frame, New):
            self._packetaddr_sessions.discard(frame.session_id)
            if frame.destination.host == PACKETADDR_HOST:
                self._packetaddr_sessions.add(frame.session_id)
        if (
            isinstance(frame, New | Keep)
            and frame.data is not None
            and frame.session_id in self._packetaddr_sessions
        ):
            yield _decode_packetaddr(frame.data)

    def _lose(self, reason: str) -> ContentUnreadable:
        self._is_lost = True
        return ContentUnreadable(reason=reason)
