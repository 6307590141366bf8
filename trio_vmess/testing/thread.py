"""A fake server for tests that do not run on Trio, or not all the time."""

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

import trio

from trio_vmess.core.vmess import Account
from trio_vmess.testing.clock import FakeClock
from trio_vmess.testing.server import (
    DatagramHandler,
    FakeVMessServer,
    StreamHandler,
    echo_datagrams,
    echo_stream,
    serve_fake_vmess,
)

START_LIMIT: Final = 30.0
"""Seconds that a thread may take to begin, and to end."""


@contextmanager
def fake_vmess_in_thread(
    handler: StreamHandler = echo_stream,
    *,
    datagram_handler: DatagramHandler = echo_datagrams,
    account: Account | None = None,
    clock: FakeClock | None = None,
) -> Generator[FakeVMessServer, None, None]:
    """Run `serve_fake_vmess` in a thread, for the length of a block.

    Handlers run on Trio, in that thread. What the server has noted can be read at any time.

    Args:
        handler: as for `serve_fake_vmess`.
        datagram_handler: likewise.
        account: likewise.
        clock: likewise.

    Raises:
        Exception: as `serve_fake_vmess`, when the block is left.
    """
    started: queue.Queue[tuple[FakeVMessServer, Callable[[], None]] | None] = queue.Queue()
    failures: list[BaseException] = []

    async def main() -> None:
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()
        async with serve_fake_vmess(
            handler, datagram_handler=datagram_handler, account=account, clock=clock
        ) as server:
            started.put((server, lambda: token.run_sync_soon(done.set)))
            await done.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as exc:  # noqa: BLE001  (it is raised in the thread that waits)
            failures.append(exc)
        finally:
            started.put(None)

    thread = threading.Thread(target=run, name="fake VMess server", daemon=True)
    thread.start()
    first = started.get(timeout=START_LIMIT)
    if first is not None:
        server, stop = first
        try:
            yield server
        finally:
            # The run may be over, if a handler has failed.
            with suppress(trio.RunFinishedError):
                stop()
            thread.join(START_LIMIT)
    if failures:
        raise failures[0]
