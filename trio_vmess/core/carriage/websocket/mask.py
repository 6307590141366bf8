"""The mask of a client's frames, and where its keys come from. RFC 6455 section 5.3.

A server that is sent V2Ray's messages of 2 KiB unmasks half a million of them for a GB, so this is
the one place of the carriage where the language matters: 0.25 µs for such a message in C.
"""

import struct
from collections.abc import Iterator
from typing import Final

from trio_vmess.core.crypto import xor
from trio_vmess.core.entropy import Entropy

__all__ = ["IS_FAST", "MASK_KEY_SIZE", "apply_mask", "apply_mask_slowly", "draw_mask_keys"]

MASK_KEY_SIZE: Final = 4

_BATCH_MIN: Final = 64
_BATCH_MAX: Final = 4096
"""Bytes per call of the entropy source: at first a few keys, for a connection that says little."""

_split_keys = struct.Struct(f"{MASK_KEY_SIZE}s").iter_unpack


def apply_mask_slowly(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Do what `apply_mask` does, without the extension: ten times slower on 2 KiB."""
    size = len(data)
    return xor(data, (bytes(mask) * (size // MASK_KEY_SIZE + 1))[:size])


try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this machine, and no compiler when it was installed
    apply_mask = apply_mask_slowly

IS_FAST: Final = apply_mask is not apply_mask_slowly
"""Whether the extension is there: without it, a busy node spends its time here."""


def draw_mask_keys(entropy: Entropy) -> Iterator[bytes]:
    """Return fresh keys without end.

    A system call for each would cost more than the masking. Connections may share the iterator.
    """
    batch = _BATCH_MIN
    while True:
        for (key,) in _split_keys(entropy.token_bytes(batch)):
            yield key
        batch = min(4 * batch, _BATCH_MAX)
