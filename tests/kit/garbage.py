"""Cycles that only the collector would free: while a node runs, it sleeps."""

import gc
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


@contextmanager
def check_no_garbage(*, ends_runs: bool = False) -> Iterator[None]:
    """Require that the block leaves no cycle of ours, nor any with a frame or a socket in it.

    Args:
        ends_runs: it calls `trio.run`, which leaves sockets of its own.
    """
    kinds = (FrameType, TracebackType) if ends_runs else (FrameType, TracebackType, socket.socket)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found = Counter(
            type(each).__qualname__
            for each in gc.garbage
            if isinstance(each, kinds) or type(each).__module__.startswith("trio_vmess")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()
    assert found == {}
