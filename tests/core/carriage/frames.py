"""Frames by hand, and readers that are fed in pieces, for the tests of this folder."""

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from tests.kit.vectors import unpack
from trio_vmess.core.carriage.websocket import ControlFrame, FrameReader, apply_mask

KEY = bytes.fromhex("37fa213d")

payloads = st.one_of(
    st.binary(max_size=140),
    # Around the longest 16-bit length; drawn as a number, because the bytes do not matter.
    st.integers(65_530, 65_540).map(lambda size: (bytes(range(251)) * 262)[:size]),
)


def frame(first: int, payload: bytes = b"", *, key: bytes = b"") -> bytes:
    """Build a frame of any first byte, in the shortest form."""
    mask_bit = 0x80 if key else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 1 << 16:
        head = bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
    return head + key + (apply_mask(payload, key) if key else payload)


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def decode(reader: FrameReader, parts: Iterable[bytes]) -> tuple[bytes, list[ControlFrame]]:
    """Feed a reader; return all payload and all control frames."""
    payload, events = bytearray(), []
    for part in parts:
        buffer = memoryview(bytearray(part))
        size = reader.decode_in_place(buffer)
        assert 0 <= size <= len(part)
        payload += buffer[:size]
        events += reader.take_events()
    return bytes(payload), events


def wires_of(capture: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return what client and server sent behind their heads."""
    request, response = (unpack(capture[name]["bytes"]) for name in ("request", "response"))
    return (
        unpack(capture["client_to_server"])[len(request) :],
        unpack(capture["server_to_client"])[len(response) :],
    )
