"""Frames out of a stream of bytes, written where they will be sent from."""

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from trio_vmess.core.carriage.websocket.frame import (
    CLOSE_CODE_SIZE,
    CONTROL_PAYLOAD_MAX,
    FIN,
    LENGTH_7_MAX,
    LENGTH_16,
    LENGTH_16_MAX,
    MASK_BIT,
    Opcode,
    may_be_sent,
)
from trio_vmess.core.carriage.websocket.mask import MASK_KEY_SIZE, apply_mask

FRAME_PAYLOAD_MAX: Final = LENGTH_16_MAX
"""Bytes. No proxy or CDN is known to refuse a frame of this size, and it keeps the head short."""

_BINARY: Final = int(FIN | Opcode.BINARY)

# The key has no bytes where frames are not masked.
_MASKED: Final = (struct.Struct(f">BB{MASK_KEY_SIZE}s"), struct.Struct(f">BBH{MASK_KEY_SIZE}s"))
_PLAIN: Final = (struct.Struct(">BB0s"), struct.Struct(">BBH0s"))

_Bytes = bytes | bytearray | memoryview


class FrameWriter:
    """What one end writes once the handshake is done.

    Each frame is a binary message of its own: the bounds of messages mean nothing in a stream.
    Nothing is kept between calls, so frames may be written by several tasks as long as they are
    sent in any one order.

    Args:
        mask_keys: a client's, from `draw_mask_keys`; None for a server, which does not mask.
    """

    __slots__ = ("_long", "_mask_bit", "_next_key", "_short")

    def __init__(self, mask_keys: Iterator[bytes] | None = None) -> None:
        self._next_key = (itertools.repeat(b"") if mask_keys is None else mask_keys).__next__
        self._mask_bit = 0 if mask_keys is None else MASK_BIT
        self._short, self._long = _PLAIN if mask_keys is None else _MASKED

    def output_size(self, size: int, /) -> int:
        """Return how large `out` must be for `size` bytes of payload, in one part or in several."""
        return size + self._long.size * (-(-size // FRAME_PAYLOAD_MAX))

    def encode_into(self, data: _Bytes, out: memoryview, /) -> int:
        """Write `data` to the front of `out`, as many frames as it needs; none if it is empty.

        Args:
            data: bytes that do not overlap `out`.
            out: a writable buffer of bytes, at least `output_size(len(data))` large.

        Returns:
            How many bytes were written.
        """
        size = len(data)
        if size > FRAME_PAYLOAD_MAX:
            return self.encode_parts_into((data,), out)
        if not size:
            return 0
        # The head as in `_write_head`: a call of its own would be a fifth of a small frame.
        key = self._next_key()
        if size <= LENGTH_7_MAX:
            self._short.pack_into(out, 0, _BINARY, self._mask_bit | size, key)
            start = self._short.size
        else:
            self._long.pack_into(out, 0, _BINARY, self._mask_bit | LENGTH_16, size, key)
            start = self._long.size
        end = start + size
        # Masked on the way to where it is sent from: the only copy.
        out[start:end] = apply_mask(data, key) if key else data
        return end

    def encode_parts_into(self, parts: Sequence[_Bytes], out: memoryview, /) -> int:
        """Write the bytes of all parts, one behind the other, in as few frames as possible.

        See `encode_into`; `out` must have room for the size of all parts together. No part is
        copied but into `out`.
        """
        left = sum(map(len, parts))
        position = end = 0
        key = b""
        for part in parts:
            rest = memoryview(part)
            while rest:
                if position == end:
                    size = min(left, FRAME_PAYLOAD_MAX)
                    left -= size
                    position, key = self._write_head(size, out, position)
                    end = position + size
                piece = rest[: end - position]
                rest = rest[len(piece) :]
                stop = position + len(piece)
                if key:
                    out[position:stop] = apply_mask(piece, key)
                    # Where the next part goes on in the same frame.
                    turn = len(piece) % MASK_KEY_SIZE
                    key = key[turn:] + key[:turn]
                else:
                    out[position:stop] = piece
                position = stop
        return position

    def ping(self, payload: bytes = b"") -> bytes:
        """Return a ping frame.

        Raises:
            ValueError: there are more than 125 bytes of payload.
        """
        return self._control_frame(Opcode.PING, payload)

    def pong(self, payload: bytes = b"") -> bytes:
        """Return the answer to a ping of that payload, or a pong that nobody has asked for.

        Raises:
            ValueError: there are more than 125 bytes of payload.
        """
        return self._control_frame(Opcode.PONG, payload)

    def close(self, code: int | None = None, reason: str = "") -> bytes:
        """Return a close frame, the last frame of this end.

        Args:
            code: a `CloseCode`, or the one that the peer has sent; None for an empty frame.
            reason: cut off after 123 bytes; it needs a code.

        Raises:
            ValueError: the code cannot be sent.
        """
        if code is None:
            return self._control_frame(Opcode.CLOSE, b"")
        if not may_be_sent(code):
            raise ValueError(f"{code} is not a status that a close frame can have")
        text = reason.encode()[: CONTROL_PAYLOAD_MAX - CLOSE_CODE_SIZE]
        # The cut may have split a character.
        text = text.decode(errors="ignore").encode()
        return self._control_frame(Opcode.CLOSE, code.to_bytes(CLOSE_CODE_SIZE, "big") + text)

    def _write_head(self, size: int, out: memoryview, position: int) -> tuple[int, bytes]:
        """Write the head of a binary frame; return where its payload begins, and its key."""
        key = self._next_key()
        if size <= LENGTH_7_MAX:
            self._short.pack_into(out, position, _BINARY, self._mask_bit | size, key)
            return position + self._short.size, key
        self._long.pack_into(out, position, _BINARY, self._mask_bit | LENGTH_16, size, key)
        return position + self._long.size, key

    def _control_frame(self, opcode: Opcode, payload: bytes) -> bytes:
        if len(payload) > CONTROL_PAYLOAD_MAX:
            raise ValueError(
                f"a control frame carries at most {CONTROL_PAYLOAD_MAX} bytes, not {len(payload)}"
            )
        key = self._next_key()
        head = self._short.pack(FIN | opcode, self._mask_bit | len(payload), key)
        return head + (apply_mask(payload, key) if key else payload)
