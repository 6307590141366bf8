"""WebSocket behind its handshake: a stream of bytes as frames, in both directions."""

from trio_vmess.core.carriage.websocket.frame import (
    Close,
    CloseCode,
    ControlFrame,
    Opcode,
    Ping,
    Pong,
)
from trio_vmess.core.carriage.websocket.mask import IS_FAST, apply_mask, draw_mask_keys
from trio_vmess.core.carriage.websocket.reader import FrameReader
from trio_vmess.core.carriage.websocket.writer import FRAME_PAYLOAD_MAX, FrameWriter

__all__ = [
    "FRAME_PAYLOAD_MAX",
    "IS_FAST",
    "Close",
    "CloseCode",
    "ControlFrame",
    "FrameReader",
    "FrameWriter",
    "Opcode",
    "Ping",
    "Pong",
    "apply_mask",
    "draw_mask_keys",
]
