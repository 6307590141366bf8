"""Reads frames from a stream of bytes that comes in pieces of any size."""

from typing import Final

from trio_vmess.core.buffer import NEED_DATA
from trio_vmess.core.destination import Destination, Network
from trio_vmess.core.mux.frame import (
    GLOBAL_ID_SIZE,
    METADATA_SIZE_MAX,
    METADATA_SIZE_MIN,
    NETWORK_TCP,
    NETWORK_UDP,
    End,
    Frame,
    Keep,
    KeepAlive,
    New,
    Option,
    Status,
)
from trio_vmess.core.vmess.address import decode_address, decode_host
from trio_vmess.errors import RemoteProtocolError

_SIZE_BYTES: Final = 2
_TARGET_OFFSET: Final = 4
"""Where the network stands in the metadata."""

_ADDRESS_OFFSET: Final = _TARGET_OFFSET + 3
_NO_GLOBAL_ID: Final = bytes(GLOBAL_ID_SIZE)


class FrameReader:
    """Reads frames, each as a whole; what is not whole yet is kept: less than 67 kB.

    Unknown options and metadata behind what is known are ignored, as all implementations do. The
    data of ends and of keep-alives is dropped.
    """

    __slots__ = ("_held", "_needed", "_target", "_target_bytes")

    def __init__(self) -> None:
        self._held = bytearray()
        self._needed = 0  # bytes from the start of `_held` without which nothing new can be read
        # Datagrams mostly go to where the one before went: it is not read anew.
        self._target_bytes = b""
        self._target: Destination | None = None

    @property
    def is_between_frames(self) -> bool:
        """Whether no part of a frame is waiting for the rest."""
        return not self._held

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Return the frames that are complete now; `data` is not looked at afterwards.

        Raises:
            RemoteProtocolError: the bytes are no frames. The reader cannot be used any more.
        """
        frames: list[Frame] = []
        if not self._held:
            with memoryview(data) as view:
                end = self._read_frames(view, frames)
                self._held += view[end:]
            return frames
        self._held += data
        if len(self._held) >= self._needed:
            with memoryview(self._held) as view:
                end = self._read_frames(view, frames)
            del self._held[:end]
        return frames

    def _read_frames(self, view: memoryview, frames: list[Frame]) -> int:
        """Read all whole frames; return where the first that is not whole begins."""
        start, available = 0, len(view)
        while True:
            body = start + _SIZE_BYTES
            if body > available:
                return self._wait(start, body)
            size = view[start] << 8 | view[start + 1]
            if not METADATA_SIZE_MIN <= size <= METADATA_SIZE_MAX:
                raise RemoteProtocolError(f"mux: {size} bytes of metadata; expected 4 to 512")
            end = body + size
            if end > available:
                return self._wait(start, end)
            metadata = bytes(view[body:end])
            data: bytes | None = None
            if metadata[3] & Option.DATA:
                data_start = end + _SIZE_BYTES
                if data_start > available:
                    return self._wait(start, data_start)
                end = data_start + (view[end] << 8 | view[end + 1])
                if end > available:
                    return self._wait(start, end)
                data = bytes(view[data_start:end])
            frames.append(self._decode(metadata, data))
            start = end

    def _wait(self, start: int, end: int) -> int:
        self._needed = end - start
        return start

    def _decode(self, metadata: bytes, data: bytes | None) -> Frame:
        session_id = metadata[0] << 8 | metadata[1]
        match metadata[2]:
            case Status.KEEP:
                # Only XUDP has a target here; to others, whatever is here means nothing.
                if len(metadata) > _TARGET_OFFSET and metadata[_TARGET_OFFSET] == NETWORK_UDP:
                    return Keep(session_id, data, self._decode_target(metadata))
                return Keep(session_id, data)
            case Status.NEW:
                return self._decode_new(session_id, metadata, data)
            case Status.END:
                return End(session_id, bool(metadata[3] & Option.ERROR))
            case Status.KEEP_ALIVE:
                return KeepAlive(session_id)
            case unknown:
                raise RemoteProtocolError(f"mux: status {unknown} is unknown; expected 1 to 4")

    def _decode_new(self, session_id: int, metadata: bytes, data: bytes | None) -> New:
        target = self._decode_target(metadata)
        end = _ADDRESS_OFFSET + _address_size(metadata)
        global_id = metadata[end : end + GLOBAL_ID_SIZE]
        is_extended = target.network is Network.UDP and len(global_id) == GLOBAL_ID_SIZE
        if not is_extended or global_id == _NO_GLOBAL_ID:
            global_id = b""
        return New(session_id, target, data, global_id, is_extended=is_extended)

    def _decode_target(self, metadata: bytes) -> Destination:
        target_bytes = metadata[_TARGET_OFFSET:]
        if self._target is None or target_bytes != self._target_bytes:
            self._target = _decode_target(metadata)
            self._target_bytes = target_bytes
        return self._target


def _decode_target(metadata: bytes) -> Destination:
    if len(metadata) <= _ADDRESS_OFFSET:
        raise RemoteProtocolError("mux: the metadata ends inside the destination")
    network = metadata[_TARGET_OFFSET]
    if network not in (NETWORK_TCP, NETWORK_UDP):
        raise RemoteProtocolError(f"mux: network {network} is unknown; expected 1 or 2")
    found = decode_address(metadata, _ADDRESS_OFFSET)
    if found is NEED_DATA:
        raise RemoteProtocolError("mux: the metadata ends inside the destination")
    start, end = found
    return Destination(
        host=decode_host(metadata[_ADDRESS_OFFSET], metadata[start:end]),
        port=metadata[_TARGET_OFFSET + 1] << 8 | metadata[_TARGET_OFFSET + 2],
        network=Network.TCP if network == NETWORK_TCP else Network.UDP,
    )


def _address_size(metadata: bytes) -> int:
    """Return the bytes of type and address, which are known to be there."""
    found = decode_address(metadata, _ADDRESS_OFFSET)
    return 0 if found is NEED_DATA else found[1] - _ADDRESS_OFFSET
